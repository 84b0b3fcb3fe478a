// The kernels that draw random numbers: dropout, its mask, Gaussian noise.
#pragma once

#include <cstddef>
#include <cstdint>

#include "machine/level.h"

namespace fusedstep {

/// Names one sequence of random blocks: the key of Philox4x32-10 and the upper half of its counter.
struct RandomStream {
  std::uint64_t seed, stream;
};

/// Element i of a dropout uses the 16-bit half i mod 8 of block i / 8. It is dropped, to +0, if that half is below
/// `threshold` (0: none, 65536: all), else multiplied by `scale`.
struct Drop {
  RandomStream random;
  std::uint64_t first;  // the index of the pointers' first run
  std::ptrdiff_t run;   // so many neighbours share one index, and are kept or dropped together
  std::int32_t threshold;
  double scale;
};

/// Element i of a Gaussian field uses word i mod 4 of block i / 4.
struct Noise {
  RandomStream random;
  std::uint64_t first;
  double scale;
};

/// Elements [begin, end) of an array, whose first is x[0]: to y, which is x or does not overlap it. `past_cache` asks
/// for stores that do not read y into the cache first.
using DropFn = void (*)(const void* x, void* y, std::ptrdiff_t begin, std::ptrdiff_t end, const Drop&, bool past_cache);

/// y = x + scale * normal for elements [begin, end) of x and y; where x is null, y = scale * normal.
using NoiseFn = void (*)(const void* x, void* y, std::ptrdiff_t begin, std::ptrdiff_t end, const Noise&);

struct RandomKernels {
  void (*block)(const RandomStream&, std::uint64_t index, std::uint32_t* words);                    // 4 words
  void (*words)(const RandomStream&, std::uint64_t first, std::ptrdiff_t n, std::uint32_t* words);  // 4 per block
  void (*kept)(std::uint8_t* y, std::ptrdiff_t begin, std::ptrdiff_t end, const Drop&);
  DropFn drop[2];  // by dtype, as below
  NoiseFn noise[2];
};
FUSEDSTEP_TABLES(RandomKernels, random_kernels)

}  // namespace fusedstep
