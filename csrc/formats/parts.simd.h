// Formats for fused kernels, which decode, update and encode in one loop. They convert one part of a block at a time,
// so that the CPU executes the conversions during the divisions of the update rule. The arrays have whole blocks and no
// gaps. The results have the same bits as those of the functions in blocks.simd.h.
#pragma once

#include <type_traits>

#include "formats/blocks.simd.h"
#include "formats/narrow.simd.h"

namespace fusedstep {
namespace {

constexpr std::ptrdiff_t half_block = scaled_together / 2;
/// `part` is the number of elements in a part. Two parts that are half a block apart are converted together, because
/// one hash gives the random bits of two elements that are half a block apart. In each half of a block, U8Part encodes
/// `coded_together` elements at a time.
constexpr std::ptrdiff_t part = 2 * words, coded_together = 4 * words;
static_assert(half_block % part == 0 && scaled_together == noise_block);

struct Part {
  alignas(64) float of[part];
};

FUSEDSTEP_INLINE Words lanes_from(std::ptrdiff_t first) {
  Words lane{};
  for (int k = 0; k < words; ++k) lane[k] = std::uint32_t(k);
  return lane + std::uint32_t(first);
}

/// Loads two vectors from each address, and replaces every nan by the same nan. Because nan is rare, a branch is
/// cheaper than a selection for each element.
FUSEDSTEP_INLINE void load_with_one_nan(const float* a, const float* b, Words (&out)[4]) {
  const Floats x[] = {load<Floats>(a), load<Floats>(a + words), load<Floats>(b), load<Floats>(b + words)};
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) out[k] = bits_of(x[k]);
  if (any_nan(x)) [[unlikely]] {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) out[k] = bf16::with_one_nan(x[k]);
  }
}

/// Each class for a format has these functions. begin(first) starts the block whose first element is `first`.
/// get(i, buffer) returns the part that begins at element i of the block, and prefetches a later part. put(i, a, b)
/// stores the parts that begin at elements i and i + half_block; get has returned both before. end() ends each block.
/// finish() is called once, after the last block, and does the work that is left.
struct NativePart {
  explicit NativePart(const Stream& s, const Rounding&) : all(reinterpret_cast<float*>(s.at.data)) {}
  void begin(std::ptrdiff_t first) { at = all + first; }
  FUSEDSTEP_INLINE float* get(std::ptrdiff_t i, Part&) const {
    prefetch_ahead<part>(at + i);
    return at + i;
  }
  FUSEDSTEP_INLINE void put(std::ptrdiff_t, const float*, const float*) const {}
  void end() const {}
  void finish() const {}

  float *all, *at = nullptr;
};

template <bool stochastic>
struct Bf16Part {
  Bf16Part(const Stream& s, const Rounding& r) : all(reinterpret_cast<std::uint16_t*>(s.at.data)), key(r.key) {}

  void begin(std::ptrdiff_t first) {
    at = all + first;
    if (stochastic) block = block_key(key, first / noise_block);
  }
  FUSEDSTEP_INLINE float* get(std::ptrdiff_t i, Part& out) const {
    prefetch_ahead<part>(at + i);
#pragma GCC unroll 4
    for (int k = 0; k < part; k += words) store(out.of + k, float_of(widen(at + i + k) << 16));
    return out.of;
  }
  FUSEDSTEP_INLINE void put(std::ptrdiff_t i, const float* a, const float* b) const {
#pragma GCC unroll 2
    for (int k = 0; k < part; k += 2 * words) {
      Words x[4];
      load_with_one_nan(a + k, b + k, x);
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        if constexpr (stochastic) {
          const auto noise = noise_pair(lanes_from(i + k + v * words), block.key0, block.key1);
          x[v] = bf16::rounded(x[v], noise.first), x[2 + v] = bf16::rounded(x[2 + v], noise.second);
        } else {
          x[v] = bf16::rounded(x[v]), x[2 + v] = bf16::rounded(x[2 + v]);
        }
      }
      store(at + i + k, halves(x[0], x[1])), store(at + i + half_block + k, halves(x[2], x[3]));
    }
  }
  void end() const {}
  void finish() const {}

  std::uint16_t *all, *at = nullptr;
  std::uint64_t key;
  BlockKey block{};
};

struct F16Part {
  F16Part(const Stream& s, const Rounding&) : all(reinterpret_cast<std::uint16_t*>(s.at.data)) {}
  void begin(std::ptrdiff_t first) { at = all + first; }
  FUSEDSTEP_INLINE float* get(std::ptrdiff_t i, Part& out) const {
    prefetch_ahead<part>(at + i);
    decode_vectors(at + i, part, out.of);
    return out.of;
  }
  FUSEDSTEP_INLINE void put(std::ptrdiff_t i, const float* a, const float* b) const {
    encode_vectors(a, part, at + i), encode_vectors(b, part, at + i + half_block);
  }
  void end() const {}
  void finish() const {}

  std::uint16_t *all, *at = nullptr;
};

/// begin() sets the low bits of a block to 0 if the block's sum shows that other code has written the parameter.
struct LowPart {
  LowPart(const Stream& s, const Rounding&)
      : all(reinterpret_cast<std::uint16_t*>(s.at.data)),
        all_low(static_cast<std::int16_t*>(s.beside)),
        all_sums(static_cast<std::int32_t*>(s.sums)) {}

  void begin(std::ptrdiff_t first) {
    at = all + first, low = all_low + first, known = all_sums + first / scaled_together;
    Words found{};
    for (int i = 0; i < scaled_together; i += 2 * words)
      found += products(load<Halves>(at + i), load<Halves>(weights.of + i));
    if (*known != std::int32_t(total(found)))
      for (std::ptrdiff_t i = 0; i < scaled_together; ++i) low[i] = 0;
    sum = Words{};
  }
  FUSEDSTEP_INLINE float* get(std::ptrdiff_t i, Part& out) const {
    prefetch_ahead<part>(at + i), prefetch_ahead<part>(low + i);
#pragma GCC unroll 4
    for (int k = 0; k < part; k += words) store(out.of + k, float_of((widen(at + i + k) << 16) + widen(low + i + k)));
    return out.of;
  }
  FUSEDSTEP_INLINE void put(std::ptrdiff_t i, const float* a, const float* b) {
#pragma GCC unroll 2
    for (int k = 0; k < part; k += 2 * words) {
      Words x[4];
      load_with_one_nan(a + k, b + k, x);
      put_two(i + k, x[0], x[1]), put_two(i + half_block + k, x[2], x[3]);
    }
  }
  FUSEDSTEP_INLINE void put_two(std::ptrdiff_t i, Words a, Words b) {
    const Halves high = halves(bf16_low::high(a), bf16_low::high(b));
    store(at + i, high), store(low + i, halves(a & 0xffff, b & 0xffff));
    sum += products(high, load<Halves>(weights.of + i));
  }
  void end() const { *known = std::int32_t(total(sum)); }
  void finish() const {}

  std::uint16_t *all, *at = nullptr;
  std::int16_t *all_low, *low = nullptr;
  std::int32_t *all_sums, *known = nullptr;
  Words sum{};
};

/// The codes of a block depend on the block's largest number, which is known only at the end of the block. The codes
/// are computed while the next block is updated, so that the CPU computes them during the divisions of the update rule.
template <bool positive>
struct U8Part {
  using Codes = u8_codes<positive>;
  using Code = std::conditional_t<positive, std::uint8_t, std::int8_t>;

  U8Part(const Stream& s, const Rounding& r)
      : all(reinterpret_cast<std::uint8_t*>(s.at.data)), scales(static_cast<float*>(s.beside)), key(r.key) {}

  void begin(std::ptrdiff_t first) { at = first, largest = Words{}, scale = scales[first / scaled_together]; }
  FUSEDSTEP_INLINE float* get(std::ptrdiff_t i, Part&) {
    const Code* const codes = reinterpret_cast<const Code*>(all) + at + i;
    prefetch_ahead<part>(codes);
#pragma GCC unroll 4
    for (int k = 0; k < part; k += words) store(now + i + k, Codes::decode(widen(codes + k), scale));
    return now + i;
  }
  FUSEDSTEP_INLINE void put(std::ptrdiff_t i, const float* a, const float* b) {
#pragma GCC unroll 4
    for (int k = 0; k < part; k += words) {
      const Words x = load<Words>(a + k) & 0x7fffffff, y = load<Words>(b + k) & 0x7fffffff;
      const Words larger = x > y ? x : y;
      largest = larger > largest ? larger : largest;
    }
    if (waiting && i % coded_together == 0) encode(i);
  }
  void end() {
    const std::uint32_t most = greatest(largest);
    const std::uint32_t bits = Codes::scale(most);
    scales[at / scaled_together] = float_of(bits);
    waiting = most < Codes::infinite ? all + at : nullptr;
    if (!waiting)
      for (std::ptrdiff_t i = 0; i < scaled_together; ++i) all[at + i] = 1;
    per_scale = float_of(0x7f000000 - bits), block = block_key(key, at / noise_block);
    float* const done = now;
    now = before, before = done;
  }
  void finish() {
    if (waiting)
      for (std::ptrdiff_t i = 0; i < half_block; i += coded_together) encode(i);
  }
  FUSEDSTEP_INLINE void encode(std::ptrdiff_t i) const {
    Words lower[4], upper[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const std::ptrdiff_t from = i + k * words;
      const auto noise = noise_pair(lanes_from(from), block.key0, block.key1);
      lower[k] = Codes::template encode<true>(load<Floats>(before + from), per_scale, noise.first);
      upper[k] = Codes::template encode<true>(load<Floats>(before + half_block + from), per_scale, noise.second);
    }
    store(waiting + i, bytes(lower)), store(waiting + half_block + i, bytes(upper));
  }

  std::uint8_t *all, *waiting = nullptr;
  float* scales;
  std::uint64_t key;
  std::ptrdiff_t at = 0;
  float scale = 0, per_scale = 0;
  BlockKey block{};
  Words largest{};
  alignas(64) float numbers[2][scaled_together];
  float *now = numbers[0], *before = numbers[1];
};

}  // namespace
}  // namespace fusedstep
