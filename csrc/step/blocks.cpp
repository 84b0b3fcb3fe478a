#include "step/blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/noise.h"

namespace fusedstep {
namespace {

// The number of elements in a block. With this size, six arrays of a block fit into the first-level cache. With smaller
// blocks, function calls take more time. With larger blocks, the CPU executes fewer conversions during the divisions of
// an update rule.
constexpr std::ptrdiff_t block = 256;

/// Memory for one block of float32 or float64 numbers.
struct Buffer {
  alignas(64) double numbers[block];
};

/// Calls body(at, n) for the blocks of elements [first, first + n). Blocks are counted from the first element of the
/// tensor, so the first and the last block may be incomplete.
template <class Body>
void for_blocks(std::ptrdiff_t first, std::ptrdiff_t n, Body&& body) {
  for (const std::ptrdiff_t end = first + n; first < end;) {
    const std::ptrdiff_t stop = std::min(end, (first / block + 1) * block);
    body(first, stop - first);
    first = stop;
  }
}

Stream gradient_of(const Tensor& t) { return {t.gradient, format_of(t.gradient_dtype)}; }

/// One block of a stream. If the stream can be used in place, `get` returns its address. Otherwise `get` decodes the
/// block into a buffer, and `put_back` encodes it again.
class Window {
 public:
  Window(const Stream& stream, Rounding rounding = {})
      : stream_(stream), rounding_(rounding), in_place_(stream.at.contiguous && is_native(stream.format)) {}

  void* get(std::ptrdiff_t first, std::ptrdiff_t n) {
    if (in_place_) return stream_.at.data + first * item_size(DType(stream_.format));
    step_kernels().formats[int(stream_.format)].decode(stream_, first, n, buffer_.numbers);
    return buffer_.numbers;
  }
  void put_back(std::ptrdiff_t first, std::ptrdiff_t n) const {
    if (!in_place_) step_kernels().formats[int(stream_.format)].encode(buffer_.numbers, stream_, first, n, rounding_);
  }
  bool in_place() const { return in_place_; }

 private:
  const Stream stream_;
  const Rounding rounding_;
  const bool in_place_;
  Buffer buffer_;
};

/// How stream k is rounded in the tensor's current step. Stream 0 is the parameter, and stream k >= 1 is state k - 1.
Rounding rounding(const Tensor& t, const Randomness& r, int k) {
  if (!(k == 0 ? r.parameters : r.states)) return {};
  const std::uint64_t tensor = scramble(scramble(r.seed) + t.place.number);
  const std::uint64_t key = scramble(tensor + std::uint64_t(t.steps) * (max_states + 1) + std::uint64_t(k));
  return {true, key_of_part(key, t.place.first_block)};
}

bool states_are(Format format, const Tensor& t) {
  for (int k = 0; k < max_states; ++k)
    if (t.states[k] && (t.state_formats[k] == Format::u8_positive ? Format::u8 : t.state_formats[k]) != format)
      return false;
  return true;
}

/// The fused kernel, which decodes, updates and encodes all streams in one loop. Null if there is none for this tensor
/// and these stages.
FusedFn fused_sweep(const FusedList& list, const Tensor& t, const Stages& st, const Coefficients& c,
                    const Randomness& r) {
  if (before_rule<float>(st) || after_rule(st) || c.careful || t.ema || !t.p.contiguous || !t.gradient.contiguous)
    return nullptr;
  for (const FusedKernel* k = list.kernels; k != list.kernels + list.count; ++k)
    if (k->p == t.format && k->g == format_of(t.gradient_dtype) && states_are(k->states, t) &&
        (is_native(k->states) || k->stochastic == r.states) && !(is_half(DType(k->p)) && r.parameters))
      return k->run;
  return nullptr;
}

// If gradients are zeroed, this number of elements is updated, and then their gradient is zeroed. At that time, the
// gradient is still in the first-level cache.
constexpr std::ptrdiff_t zeroed_together = 4 * block;

/// Updates whole blocks with a fused kernel.
void sweep_fused(FusedFn run, const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t count, const Stages& st,
                 const Coefficients& coefficients, const Randomness& r) {
  FusedStreams streams{t.parameter(), gradient_of(t), {}, {rounding(t, r, 0)}};
  for (int k = 0; k < max_states; ++k) streams.states[k] = t.state(k), streams.rounding[1 + k] = rounding(t, r, 1 + k);
  const std::ptrdiff_t step = st.zero_gradient ? zeroed_together : count;
  for (std::ptrdiff_t done = 0; done < count; done += step) {
    const std::ptrdiff_t n = std::min(step, count - done);
    run(streams, first + done, n / block, st, coefficients);
    if (st.zero_gradient) zero_gradient(t, first + done, n);
  }
}

/// Updates elements without a fused kernel. Each block is decoded, updated and encoded. Streams that can be used in
/// place are not decoded.
void sweep_decoded(SweepFn sweep, const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t count, const Stages& st,
                   const Coefficients& coefficients, const Randomness& r) {
  static_assert(max_states == 4 && block % scaled_together == 0);
  Window p(t.parameter(), rounding(t, r, 0)), g(gradient_of(t));
  Window states[max_states] = {{t.state(0), rounding(t, r, 1)},
                               {t.state(1), rounding(t, r, 2)},
                               {t.state(2), rounding(t, r, 3)},
                               {t.state(3), rounding(t, r, 4)}};
  Stages stages = st;
  stages.zero_gradient = st.zero_gradient && g.in_place();
  for_blocks(first, count, [&](std::ptrdiff_t at, std::ptrdiff_t n) {
    Run run{p.get(at, n), {}, nullptr, g.get(at, n), n};
    for (int k = 0; k < max_states; ++k)
      if (t.states[k]) run.states[k] = states[k].get(at, n);
    if (t.ema) run.ema = static_cast<char*>(t.ema) + at * item_size(computed_in(t.dtype));
    sweep(run, stages, coefficients);
    p.put_back(at, n);
    for (int k = 0; k < max_states; ++k)
      if (t.states[k]) states[k].put_back(at, n);
    if (st.zero_gradient && !g.in_place()) zero_gradient(t, at, n);
  });
}

}  // namespace

void sweep_blocks(SweepFn sweep, const FusedList& list, const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t count,
                  const Stages& st, const Coefficients& coefficients, const Randomness& r) {
  static_assert(block == scaled_together);
  const auto decoded = [&](std::ptrdiff_t at, std::ptrdiff_t n) {
    if (n > 0) sweep_decoded(sweep, t, at, n, st, coefficients, r);
  };
  const FusedFn fused = fused_sweep(list, t, st, coefficients, r);
  const std::ptrdiff_t end = first + count, start = (first + block - 1) / block * block, stop = end / block * block;
  if (!fused || start >= stop) return decoded(first, count);
  decoded(first, start - first);
  sweep_fused(fused, t, start, stop - start, st, coefficients, r);
  decoded(stop, end - stop);
}

namespace {

/// Calls body(numbers, n) for successive parts of a gradient, converted to the type in which kernels compute.
template <class Body>
void for_gradient(const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t count, Body&& body) {
  Window g(gradient_of(t));
  if (g.in_place()) return body(g.get(first, count), count);
  for_blocks(first, count, [&](std::ptrdiff_t at, std::ptrdiff_t n) { body(g.get(at, n), n); });
}

template <class T>
bool finite(const void* numbers, std::ptrdiff_t n, double factor) {
  const T* const x = static_cast<const T*>(numbers);
  return std::all_of(x, x + n, [factor](T v) { return std::isfinite(scaled(v, factor)); });
}

template <class Item>
void exchange_items(const Strided& p, std::ptrdiff_t size, void* other) {
  auto* const items = static_cast<Item*>(other);
  for_each_item<Item>(p, 0, size, [items](Item& x, std::ptrdiff_t i) { std::swap(x, items[i]); });
}

template <class Item>
void zero_items(const Strided& g, std::ptrdiff_t first, std::ptrdiff_t n) {
  for_each_item<Item>(g, first, n, [](Item& x, std::ptrdiff_t) { x = 0; });
}

}  // namespace

void add_squares(const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n, unsigned lane, double* lanes) {
  const SquareSumFn add = step_kernels().square_sum[int(computed_in(t.gradient_dtype))];
  for_gradient(t, first, n, [&](const void* g, std::ptrdiff_t count) {
    add(g, count, lane, lanes);
    lane = unsigned((lane + std::size_t(count)) % norm_lanes);
  });
}

bool all_finite(const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n, double factor) {
  bool all = true;
  for_gradient(t, first, n, [&](const void* g, std::ptrdiff_t count) {
    all = all && (t.gradient_dtype == DType::f64 ? finite<double> : finite<float>)(g, count, factor);
  });
  return all;
}

void add_scaled_squares(const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n, double power, double& sum) {
  for_gradient(t, first, n, [&](const void* g, std::ptrdiff_t count) {
    for (std::ptrdiff_t i = 0; i < count; ++i) {
      const double x = static_cast<const double*>(g)[i] * power;
      sum += x * x;
    }
  });
}

void zero_gradient(const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n) {
  switch (item_size(t.gradient_dtype)) {
    case 2:
      return zero_items<std::uint16_t>(t.gradient, first, n);
    case 4:
      return zero_items<std::uint32_t>(t.gradient, first, n);
    default:
      return zero_items<std::uint64_t>(t.gradient, first, n);
  }
}

void exchange_parameter(const Tensor& t, void* other) {
  switch (item_size(t.dtype)) {
    case 2:
      return exchange_items<std::uint16_t>(t.p, t.size, other);
    case 4:
      return exchange_items<std::uint32_t>(t.p, t.size, other);
    default:
      return exchange_items<std::uint64_t>(t.p, t.size, other);
  }
}

}  // namespace fusedstep
