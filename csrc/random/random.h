// Dropout and Gaussian noise over threads, rows and caches. Nothing here depends on how the work is shared out: every
// element's bits are a function of its index.
#pragma once

#include <cstdint>
#include <vector>

#include "formats/dtype.h"
#include "machine/system.h"
#include "random/kernel.h"

namespace fusedstep {

/// How a mask of one shape lies over an array of another, in C order and seen as equal rows: the mask's indices of row
/// r begin at base(r), and rise by one every `run` elements of it.
struct Broadcast {
  std::int64_t rows = 1, row = 1, run = 1;
  std::uint64_t base(std::int64_t r) const {
    std::uint64_t index = 0;
    for (auto d = outer.rbegin(); d != outer.rend(); r /= d->size, ++d) index += std::uint64_t(r % d->size * d->stride);
    return index;
  }

  struct Dim {
    std::int64_t size, stride;  // stride in the mask: 0 where it is broadcast
  };
  std::vector<Dim> outer;  // from the slowest
};

/// `mask` must broadcast against `shape`: as many dims, each of the same size or 1.
Broadcast lay_over(const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& mask);

/// All elements of y from those of x, which is y or does not overlap it. The broadcast says `d.run`. What is
/// larger than `cache` bytes, read and written, bypasses the caches.
void drop(const void* x, void* y, DType dtype, const Broadcast& b, const Drop& d, int threads,
          std::int64_t cache = last_level_cache());

/// The mask of n elements: 1 for what is kept.
void keep(std::uint8_t* y, std::int64_t n, const Drop& d, int threads);

/// y = x + noise, where y may be x; y = noise where x is null.
void add_noise(const void* x, void* y, DType dtype, std::int64_t n, const Noise& d, int threads);

}  // namespace fusedstep
