// The kernels that use random numbers: dropout, the mask of dropout, and Gaussian noise.
#pragma once

#include <cstddef>
#include <cstdint>

#include "machine/level.h"

namespace fusedstep {

/// Selects one sequence of random blocks. `seed` is the key of Philox4x32-10, and `stream` is the upper half of its
/// counter. A block has four words of 32 bits.
struct RandomStream {
  std::uint64_t seed, stream;
};

/// The element with index i uses the 16-bit half i mod 8 of block i / 8. If this half is below `threshold`, the element
/// is set to +0. Otherwise it is multiplied by `scale`. With the threshold 0 all elements are kept, and with 65536 all
/// elements are dropped.
struct Drop {
  RandomStream random;
  std::uint64_t first;  // the index that the first elements use
  std::ptrdiff_t run;   // number of neighbouring elements that share one index
  std::int32_t threshold;
  double scale;
};

/// The element with index i uses word i mod 4 of block i / 4 and a neighbouring word: the next word if i is even, the
/// word before if i is odd.
struct Noise {
  RandomStream random;
  std::uint64_t first;  // the index of element 0
  double scale;         // the standard deviation
};

/// Applies dropout to elements [begin, end) of an array. Element `begin` is x[0], and its result is y[0]. y must be x,
/// or must not overlap x. If `past_cache` is true, stores bypass the caches.
using DropFn = void (*)(const void* x, void* y, std::ptrdiff_t begin, std::ptrdiff_t end, const Drop&, bool past_cache);

/// y = x + scale * normal for elements [begin, end) of x and y; if x is null, y = scale * normal.
using NoiseFn = void (*)(const void* x, void* y, std::ptrdiff_t begin, std::ptrdiff_t end, const Noise&);

/// `block` writes the four words of one block. `words` writes words first, ..., first + n - 1 of a stream. `kept`
/// writes the mask of dropout.
struct RandomKernels {
  void (*block)(const RandomStream&, std::uint64_t index, std::uint32_t* words);
  void (*words)(const RandomStream&, std::uint64_t first, std::ptrdiff_t n, std::uint32_t* words);
  void (*kept)(std::uint8_t* y, std::ptrdiff_t begin, std::ptrdiff_t end, const Drop&);
  DropFn drop[2];  // drop and noise are indexed by dtype
  NoiseFn noise[2];
};
FUSEDSTEP_TABLES(RandomKernels, random_kernels)

}  // namespace fusedstep
