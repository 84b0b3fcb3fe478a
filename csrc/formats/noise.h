// The random bits of stochastic rounding. Each element has 16 random bits, which are a function of a key and of the
// element's index in the tensor.
#pragma once

#include "formats/format.h"

namespace fusedstep {
namespace {

constexpr std::ptrdiff_t noise_block = 256;  // number of elements with the same 64-bit key

/// The finalizer of splitmix64 (Steele, Lea, Flood 2014).
inline std::uint64_t scramble(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// 16 random bits for each of two elements, in the lower halves of `first` and `second`. U is a number or a vector.
template <class U>
struct NoisePair {
  U first, second;
};

/// Hashes `lane`, an index within a block, with a key. The two factors are the constants of C. Wellons' lowbias32.
template <class U>
[[gnu::always_inline]] inline NoisePair<U> noise_pair(U lane, std::uint32_t key0, std::uint32_t key1) {
  U x = lane + key0;
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = ((x ^ (x >> 15)) + key1) * 0x846ca68bu;
  const U upper = x >> 16;
  return {(x ^ upper) & 0xffff, upper};
}

/// The key for a part of a tensor that begins with block `first`. The blocks of the part then have the keys that they
/// have in the whole tensor.
inline std::uint64_t key_of_part(std::uint64_t key, std::uint64_t first) { return key + first * 0x9e3779b97f4a7c15u; }

/// The key of a block of a tensor.
struct BlockKey {
  std::uint32_t key0, key1;
};
inline BlockKey block_key(std::uint64_t key, std::ptrdiff_t block) {
  const std::uint64_t mixed = scramble(key_of_part(key, std::uint64_t(block)));
  return {std::uint32_t(mixed), std::uint32_t(mixed >> 32)};
}

/// Writes the random bits of elements [first, first + n). For i < 128, noise_pair(i, ...) gives the random bits of
/// elements i and i + 128 of a block.
inline void make_noise(std::uint64_t key, std::ptrdiff_t first, std::ptrdiff_t n, std::uint32_t* out) {
  constexpr std::ptrdiff_t half = noise_block / 2;
  for (std::ptrdiff_t done = 0; done < n;) {
    const std::ptrdiff_t block = (first + done) / noise_block, start = (first + done) % noise_block;
    const auto [key0, key1] = block_key(key, block);
    std::uint32_t* const to = out + done - start;  // where the block's first element would be
    if (start == 0 && n - done >= noise_block) {
      for (std::ptrdiff_t i = 0; i < half; ++i) {
        const auto [first_half, second_half] = noise_pair(std::uint32_t(i), key0, key1);
        to[i] = first_half, to[half + i] = second_half;
      }
      done += noise_block;
    } else {
      const std::ptrdiff_t left = n - done, stop = start + left < noise_block ? start + left : noise_block;
      for (std::ptrdiff_t i = start; i < stop; ++i) {
        const auto [first_half, second_half] = noise_pair(std::uint32_t(i % half), key0, key1);
        to[i] = i < half ? first_half : second_half;
      }
      done += stop - start;
    }
  }
}

}  // namespace
}  // namespace fusedstep
