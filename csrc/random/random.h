// Dropout and Gaussian noise over threads, rows and caches. The results do not depend on how the work is divided,
// because every element's bits are a function of its index.
#pragma once

#include <cstdint>
#include <vector>

#include "formats/dtype.h"
#include "machine/system.h"
#include "random/kernel.h"

namespace fusedstep {

/// How a mask of one shape is broadcast over an array of another shape, in C order. The array is divided into equal
/// rows. The mask's indices of row r begin at base(r) and increase by one every `run` elements.
struct Broadcast {
  std::int64_t rows = 1, row = 1, run = 1;
  std::uint64_t base(std::int64_t r) const {
    std::uint64_t index = 0;
    for (auto d = outer.rbegin(); d != outer.rend(); r /= d->size, ++d) index += std::uint64_t(r % d->size * d->stride);
    return index;
  }

  struct Dim {
    std::int64_t size, stride;  // stride in the mask: 0 if it is broadcast along this dim
  };
  std::vector<Dim> outer;  // from the slowest to the fastest
};

/// `mask` must broadcast against `shape`: it has equally many dims, each of the same size or 1.
Broadcast lay_over(const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& mask);

/// Computes all elements of y from those of x. y is x or does not overlap it. `d.run` is set from the broadcast. If x
/// and y together are larger than `cache` bytes, stores bypass the caches.
void drop(const void* x, void* y, DType dtype, const Broadcast& b, const Drop& d, int threads,
          std::int64_t cache = last_level_cache());

/// Writes the mask of n elements: 1 for elements that are kept.
void keep(std::uint8_t* y, std::int64_t n, const Drop& d, int threads);

/// y = x + noise, where y may be x; y = noise if x is null.
void add_noise(const void* x, void* y, DType dtype, std::int64_t n, const Noise& d, int threads);

}  // namespace fusedstep
