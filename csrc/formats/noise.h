// The random bits of stochastic rounding: 16 for each element, a function of a key and of its place in the tensor.
#pragma once

#include "formats/format.h"

namespace fusedstep {
namespace {

constexpr std::ptrdiff_t noise_block = 256;  // elements that share a key of 64 bits; two of them share a hash

/// The finalizer of splitmix64 (Steele, Lea, Flood 2014).
inline std::uint64_t scramble(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// 32 bits of a lane under a key, by two multiplications: the constants are those of C. Wellons' lowbias32.
inline std::uint32_t hash(std::uint32_t lane, std::uint32_t key0, std::uint32_t key1) {
  std::uint32_t x = lane + key0;
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = ((x ^ (x >> 15)) + key1) * 0x846ca68bu;
  return x ^ (x >> 16);
}

/// The bits of elements [first, first + n): element i of a block takes the lower half of hash(i) or, from 128 on, the
/// upper half of hash(i - 128).
inline void make_noise(std::uint64_t key, std::ptrdiff_t first, std::ptrdiff_t n, std::uint32_t* out) {
  constexpr std::ptrdiff_t half = noise_block / 2;
  for (std::ptrdiff_t done = 0; done < n;) {
    const std::ptrdiff_t block = (first + done) / noise_block, start = (first + done) % noise_block;
    const std::uint64_t mixed = scramble(key + std::uint64_t(block) * 0x9e3779b97f4a7c15u);
    const auto key0 = std::uint32_t(mixed), key1 = std::uint32_t(mixed >> 32);
    std::uint32_t* const to = out + done - start;  // of the block's first element
    if (start == 0 && n - done >= noise_block) {
      for (std::ptrdiff_t i = 0; i < half; ++i) {
        const std::uint32_t h = hash(std::uint32_t(i), key0, key1);
        to[i] = h & 0xffff, to[half + i] = h >> 16;
      }
      done += noise_block;
    } else {
      const std::ptrdiff_t left = n - done, stop = start + left < noise_block ? start + left : noise_block;
      for (std::ptrdiff_t i = start; i < stop; ++i) {
        const std::uint32_t h = hash(std::uint32_t(i % half), key0, key1);
        to[i] = i < half ? h & 0xffff : h >> 16;
      }
      done += stop - start;
    }
  }
}

}  // namespace
}  // namespace fusedstep
