#include "random/random.h"

#include <algorithm>

#include "machine/parallel.h"

namespace fusedstep {
namespace {

constexpr std::int64_t chunk = 4096;  // elements; a multiple of every tile

template <class Body>
void in_chunks(std::int64_t n, int threads, Body&& body) {
  parallel_for((n + chunk - 1) / chunk, useful_threads(n, threads),
               [&](std::int64_t begin, std::int64_t end) { body(begin * chunk, std::min(n, end * chunk)); });
}

}  // namespace

Broadcast lay_over(const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& mask) {
  Broadcast b;
  std::int64_t stride = 1;
  for (std::size_t d = shape.size(); d-- > 0; stride *= mask[d]) {  // from the fastest
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
  const DropFn fn = random_kernels().drop[int(dtype)];
  const std::int64_t n = broadcast.rows * broadcast.row, item = std::int64_t(item_size(dtype));
  const bool all_alike = d.threshold == 0 || d.threshold == 65536;  // no random numbers are needed
  const Broadcast b = all_alike ? Broadcast{1, n, n, {}} : broadcast;
  const bool past_cache = x != y && b.rows == 1 && b.run == 1 && 2 * n * item > cache;
  in_chunks(n, threads, [&](std::int64_t begin, std::int64_t end) {
    Drop of_row = d;
    of_row.run = b.run;
    for (std::int64_t at = begin; at < end;) {
      const std::int64_t row = at / b.row * b.row, stop = std::min(end, row + b.row);
      of_row.first = d.first + b.base(at / b.row);
      fn(static_cast<const char*>(x) + row * item, static_cast<char*>(y) + row * item, at - row, stop - row, of_row,
         past_cache);
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
