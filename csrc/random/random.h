// Dropout and Gaussian noise. The random bits of an element are a function of its index. So the results do not depend
// on how the work is divided between threads.
#pragma once

#include <cstdint>
#include <vector>

#include "formats/dtype.h"
#include "machine/system.h"
#include "random/kernel.h"

namespace fusedstep {

/// How a mask is broadcast over an array of another shape, in C order. The array is divided into `rows` rows of `row`
/// elements. The first element of row r uses the mask's element base(r). Within a row, the index in the mask increases
/// by one after every `run` elements.
struct Broadcast {
  std::int64_t rows = 1, row = 1, run = 1;
  std::uint64_t base(std::int64_t r) const {
    std::uint64_t index = 0;
    for (auto d = outer.rbegin(); d != outer.rend(); r /= d->size, ++d) index += std::uint64_t(r % d->size * d->stride);
    return index;
  }

  struct Dim {
    std::int64_t size, stride;  // stride: in the mask; 0 if the mask is broadcast along this dim
  };
  std::vector<Dim> outer;  // the dims over which rows are counted, the outermost first
};

/// `shape` is the shape of the array, and `mask` is the shape of the mask. `mask` must have as many dims as `shape`,
/// each of the same size or of size 1.
Broadcast lay_over(const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& mask);

/// Dropout of all elements of x; the results are written to y. y must be x, or must not overlap x. `d.run` is ignored,
/// because the broadcast gives it. If x and y together have more than `cache` bytes, stores may bypass the caches.
void drop(const void* x, void* y, DType dtype, const Broadcast& b, const Drop& d, int threads,
          std::int64_t cache = last_level_cache());

/// Writes the mask of n elements: 1 for each element that is kept, 0 for each element that is dropped.
void keep(std::uint8_t* y, std::int64_t n, const Drop& d, int threads);

/// y = x + noise, or y = noise if x is null. y may be x.
void add_noise(const void* x, void* y, DType dtype, std::int64_t n, const Noise& d, int threads);

}  // namespace fusedstep
