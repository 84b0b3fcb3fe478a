// Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3").
#pragma once

#include "machine/vectors.simd.h"
#include "random/kernel.h"

namespace fusedstep {
namespace {

// The number of blocks in a tile, which are computed together. This number divides 2^32. Therefore, the indices of all
// blocks of a tile have the same upper word.
constexpr int tile_blocks = 64;
constexpr int tile_words = 4 * tile_blocks;
constexpr int tile_halves = 8 * tile_blocks;

/// One word of several blocks. Each word is in the low half of a 64-bit lane. The high halves may have any value,
/// because the multiplication ignores the high halves of its factors.
using Lanes __attribute__((vector_size(vector_bytes))) = std::uint64_t;
constexpr int lane_count = vector_bytes / 8;
// The number of groups of lanes that are computed together. While one group waits for its multiplications, the CPU
// computes the other groups.
constexpr int groups = 4;
static_assert(tile_blocks % (groups * lane_count) == 0);

inline Lanes multiply_low(Lanes a, std::uint32_t b) {
#if defined(__AVX512F__)
  // The mask selects all lanes. With a mask, the intrinsic has no undefined operand.
  return Lanes(_mm512_maskz_mul_epu32(0xff, __m512i(a), _mm512_set1_epi64(b)));
#elif defined(__AVX2__)
  return Lanes(_mm256_mul_epu32(__m256i(a), _mm256_set1_epi64x(b)));
#elif defined(__SSE2__)
  return Lanes(_mm_mul_epu32(__m128i(a), _mm_set1_epi64x(b)));
#else
  return (a & 0xffffffffu) * b;
#endif
}

struct Counter {
  Lanes word[4];
};

inline Counter philox_round(const Counter& c, std::uint32_t key0, std::uint32_t key1) {
  const Lanes p0 = multiply_low(c.word[0], 0xD2511F53u), p1 = multiply_low(c.word[2], 0xCD9E8D57u);
  return {{(p1 >> 32) ^ c.word[1] ^ std::uint64_t(key0), p1, (p0 >> 32) ^ c.word[3] ^ std::uint64_t(key1), p0}};
}

inline void philox(Counter (&c)[groups], std::uint64_t seed) {
  std::uint32_t key0 = std::uint32_t(seed), key1 = std::uint32_t(seed >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 4
    for (Counter& group : c) group = philox_round(group, key0, key1);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

/// Writes the four words of each block of `c`, block after block.
inline void store_blocks(const Counter& c, unsigned char* out) {
  const Lanes low = (c.word[0] & 0xffffffffu) | (c.word[1] << 32), high = (c.word[2] & 0xffffffffu) | (c.word[3] << 32);
#if defined(__AVX512F__)
  const Lanes first = __builtin_shufflevector(low, high, 0, 8, 1, 9, 2, 10, 3, 11);
  const Lanes second = __builtin_shufflevector(low, high, 4, 12, 5, 13, 6, 14, 7, 15);
#elif defined(__AVX2__)
  const Lanes first = __builtin_shufflevector(low, high, 0, 4, 1, 5);
  const Lanes second = __builtin_shufflevector(low, high, 2, 6, 3, 7);
#else
  const Lanes first = __builtin_shufflevector(low, high, 0, 2), second = __builtin_shufflevector(low, high, 1, 3);
#endif
  __builtin_memcpy(out, &first, sizeof first);
  __builtin_memcpy(out + sizeof first, &second, sizeof second);
}

/// Writes the words of `tile_blocks` blocks to `out`. `block`, the index of the first block, must be a multiple of
/// tile_blocks.
__attribute__((noinline)) void philox_tile(RandomStream random, std::uint64_t block, void* out) {
  Lanes lane;
  for (int k = 0; k < lane_count; ++k) lane[k] = std::uint64_t(k);
  const std::uint64_t low = block & 0xffffffffu, high = block >> 32;
  auto* at = static_cast<unsigned char*>(out);
  for (int done = 0; done < tile_blocks; done += groups * lane_count) {
    Counter c[groups];
    for (int g = 0; g < groups; ++g)
      c[g] = {{lane + (low + std::uint64_t(done + g * lane_count)), Lanes{} + high, Lanes{} + random.stream,
               Lanes{} + (random.stream >> 32)}};
    philox(c, random.seed);
#pragma GCC unroll 4
    for (const Counter& group : c) {
      store_blocks(group, at);
      at += sizeof(Counter) / 2;
    }
  }
}

void philox_block(const RandomStream& random, std::uint64_t index, std::uint32_t* words) {
  std::uint32_t tile[tile_words];
  philox_tile(random, index / tile_blocks * tile_blocks, tile);
  __builtin_memcpy(words, tile + index % tile_blocks * 4, 4 * sizeof *words);
}

/// Writes words first, ..., first + n - 1 of a stream. Word i of the stream is word i mod 4 of block i / 4.
void philox_words(const RandomStream& random, std::uint64_t first, std::ptrdiff_t n, std::uint32_t* words) {
  std::uint32_t tile[tile_words];
  for (std::ptrdiff_t done = 0; done < n;) {
    const std::uint64_t at = first + std::uint64_t(done), skip = at % tile_words;
    const std::ptrdiff_t left = n - done, here = std::ptrdiff_t(tile_words - skip), count = left < here ? left : here;
    philox_tile(random, (at - skip) / 4, tile);
    __builtin_memcpy(words + done, tile + skip, std::size_t(count) * sizeof *words);
    done += count;
  }
}

}  // namespace
}  // namespace fusedstep
