#include "step/blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace fusedstep {
namespace {

constexpr std::ptrdiff_t block = 512;  // six arrays of it, as float32, lie in the first-level cache

/// Room for a block of numbers of either computing type.
struct Buffer {
  alignas(64) double numbers[block];
};

/// Calls body(done, n) for the blocks of a run.
template <class Body>
void for_blocks(std::ptrdiff_t count, Body&& body) {
  for (std::ptrdiff_t done = 0; done < count; done += block) body(done, std::min(block, count - done));
}

bool is_native(const Strided& s, DType dtype) { return s.contiguous && !is_half(dtype); }

/// A stream of a block: in place, or decoded into a buffer and encoded by `put_back`.
class Stream {
 public:
  Stream(const Strided& where, DType dtype) : where_(where), dtype_(dtype), in_place_(is_native(where, dtype)) {}

  void* get(std::ptrdiff_t first, std::ptrdiff_t n) {
    if (in_place_) return where_.data + first * item_size(dtype_);
    step_kernels().formats[int(dtype_)].decode(where_, first, n, buffer_.numbers);
    return buffer_.numbers;
  }
  void put_back(std::ptrdiff_t first, std::ptrdiff_t n) const {
    if (!in_place_) step_kernels().formats[int(dtype_)].encode(buffer_.numbers, where_, first, n);
  }
  bool in_place() const { return in_place_; }

 private:
  const Strided where_;
  const DType dtype_;
  const bool in_place_;
  Buffer buffer_;
};

Strided contiguous(void* data) { return {static_cast<char*>(data)}; }

}  // namespace

void sweep_blocks(SweepFn sweep, const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t count, const Stages& st,
                  const Coefficients& coefficients) {
  Stream p(t.p, t.dtype), g(t.gradient, t.gradient_dtype);
  Stream states[max_states] = {{contiguous(t.states[0]), t.dtype},
                               {contiguous(t.states[1]), t.dtype},
                               {contiguous(t.states[2]), t.dtype},
                               {contiguous(t.states[3]), t.dtype}};
  Stages stages = st;
  stages.zero_gradient = st.zero_gradient && g.in_place();
  for_blocks(count, [&](std::ptrdiff_t done, std::ptrdiff_t n) {
    const std::ptrdiff_t at = first + done;
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

namespace {

/// body(numbers, n) for stretches of a gradient, as numbers of the computing type.
template <class Body>
void for_gradient(const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t count, Body&& body) {
  Stream g(t.gradient, t.gradient_dtype);
  if (g.in_place()) return body(g.get(first, count), count);
  for_blocks(count, [&](std::ptrdiff_t done, std::ptrdiff_t n) { body(g.get(first + done, n), n); });
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
  static_assert(block % norm_lanes == 0, "every block begins with the same lane");
  const SquareSumFn add = step_kernels().square_sum[int(computed_in(t.gradient_dtype))];
  for_gradient(t, first, n, [&](const void* g, std::ptrdiff_t count) { add(g, count, lane, lanes); });
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
