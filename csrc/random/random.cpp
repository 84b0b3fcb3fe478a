#include "random/random.h"

#include <algorithm>

#include "formats/halves.h"
#include "machine/parallel.h"

namespace fusedstep {
namespace {

/// The number of elements in a chunk. Random bits are computed for one tile of elements at a time. This number is a
/// multiple of the number of elements in each kind of tile.
constexpr std::int64_t chunk = 4096;
/// If the input and the output together have more than this number of bytes, stores that bypass the caches are faster.
/// This is so even if the last-level cache is larger, because other cores share that cache. The measured time includes
/// the next read of the output.
constexpr std::int64_t most_cached = 24 << 20;

template <class Body>
void in_chunks(std::int64_t n, int threads, Body&& body) {
  parallel_for((n + chunk - 1) / chunk, useful_threads(n, threads),
               [&](std::int64_t begin, std::int64_t end) { body(begin * chunk, std::min(n, end * chunk)); });
}

/// Dropout of 16-bit elements. The elements of one block are decoded to float32, dropout is applied to them, and they
/// are encoded. Then the next block follows. If `past_cache` is true, its elements are prefetched.
void drop_narrow(const HalfKernels& half, const void* x, void* y, std::int64_t begin, std::int64_t end, const Drop& d,
                 bool past_cache) {
  constexpr std::int64_t block = 512, line = 32;  // elements in a block and in a cache line
  alignas(64) float numbers[block];
  const auto phase = d.run == 1 ? std::int64_t(d.first % block) : 0;
  for (std::int64_t from = begin, to; from < end; from = to) {
    to = std::min(end, (from + phase) / block * block + block - phase);
    const std::int64_t items = to - from;
    for (std::int64_t i = 0; past_cache && i < block; i += line)
      __builtin_prefetch(item_at(x, to - begin + i, 2), 0, 2);
    half.decode(item_at(x, from - begin, 2), items, numbers);
    random_kernels().drop[int(DType::f32)](numbers, numbers, from, to, d, false);
    half.encode(numbers, items, item_at(y, from - begin, 2), past_cache);
  }
  if (past_cache) half_kernels().end_streaming();
}

}  // namespace

Broadcast lay_over(const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& mask) {
  Broadcast b;
  std::int64_t stride = 1;
  for (std::size_t d = shape.size(); d-- > 0; stride *= mask[d]) {  // from the last axis to the first
    const bool shared = mask[d] == 1;
    if (shape[d] == 1) continue;
    Broadcast::Dim* last = b.outer.empty() ? nullptr : &b.outer.back();
    if (last && (last->stride == 0) == shared)
      last->size *= shape[d];
    else
      b.outer.push_back({shape[d], shared ? 0 : stride});
  }
  if (!b.outer.empty() && b.outer.front().stride == 0) {
    b.run = b.row = b.outer.front().size;
    b.outer.erase(b.outer.begin());
  }
  if (!b.outer.empty()) {
    b.row *= b.outer.front().size;
    b.outer.erase(b.outer.begin());
  }
  for (const Broadcast::Dim& d : b.outer) b.rows *= d.size;
  b.outer = {b.outer.rbegin(), b.outer.rend()};
  return b;
}

void drop(const void* x, void* y, DType dtype, const Broadcast& broadcast, const Drop& d, int threads,
          std::int64_t cache) {
  const std::int64_t n = broadcast.rows * broadcast.row, item = std::int64_t(item_size(dtype));
  const bool all_alike = d.threshold == 0 || d.threshold == 65536;  // all elements are kept, or all are dropped
  const Broadcast b = all_alike ? Broadcast{1, n, n, {}} : broadcast;
  const bool past_cache = x != y && b.rows == 1 && b.run == 1 && 2 * n * item > std::min(cache, most_cached);
  in_chunks(n, threads, [&](std::int64_t begin, std::int64_t end) {
    Drop of_row = d;
    of_row.run = b.run;
    for (std::int64_t at = begin; at < end;) {
      const std::int64_t row = at / b.row * b.row, stop = std::min(end, row + b.row);
      of_row.first = d.first + b.base(at / b.row);
      const void* const x_at = item_at(x, at, item);
      void* const y_at = item_at(y, at, item);
      if (is_half(dtype))
        drop_narrow(half_kernels().of(dtype), x_at, y_at, at - row, stop - row, of_row, past_cache);
      else
        random_kernels().drop[int(dtype)](x_at, y_at, at - row, stop - row, of_row, past_cache);
      at = stop;
    }
  });
}

void keep(std::uint8_t* y, std::int64_t n, const Drop& d, int threads) {
  const auto fn = random_kernels().kept;
  in_chunks(n, threads, [&](std::int64_t begin, std::int64_t end) { fn(y, begin, end, d); });
}

void add_noise(const void* x, void* y, DType dtype, std::int64_t n, const Noise& d, int threads) {
  const NoiseFn fn = random_kernels().noise[int(dtype)];
  in_chunks(n, threads, [&](std::int64_t begin, std::int64_t end) { fn(x, y, begin, end, d); });
}

}  // namespace fusedstep
