// The functions that decode and encode blocks of floating-point numbers, for formats without a second array.
#pragma once

#include "formats/bf16.h"
#include "formats/f16.h"
#include "formats/format.h"
#include "formats/noise.h"
#include "machine/vectors.simd.h"

namespace fusedstep {
namespace {

constexpr std::ptrdiff_t noise_room = 512;  // number of elements whose random bits are computed at a time

#if defined(__F16C__)
/// Conversions by the CPU's instructions. The results have the same bits as those of `f16`.
#if defined(__AVX512F__)
constexpr std::ptrdiff_t f16_lanes = 16;
inline void f16_to_float(const std::uint16_t* from, float* to) {
  _mm512_storeu_ps(to, _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
}
inline void float_to_f16(const float* from, std::uint16_t* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                      _mm512_maskz_cvtps_ph(0xffff, _mm512_loadu_ps(from), _MM_FROUND_TO_NEAREST_INT));
}
#else
constexpr std::ptrdiff_t f16_lanes = 8;
inline void f16_to_float(const std::uint16_t* from, float* to) {
  _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
inline void float_to_f16(const float* from, std::uint16_t* to) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(_mm256_loadu_ps(from), _MM_FROUND_TO_NEAREST_INT));
}
#endif

/// Converts the numbers that fill whole vectors, and returns how many numbers were converted. The arrays have no gaps.
inline std::ptrdiff_t decode_vectors(const std::uint16_t* in, std::ptrdiff_t n, float* out) {
  std::ptrdiff_t i = 0;
  for (; i + f16_lanes <= n; i += f16_lanes) f16_to_float(in + i, out + i);
  return i;
}
inline std::ptrdiff_t encode_vectors(const float* in, std::ptrdiff_t n, std::uint16_t* out) {
  std::ptrdiff_t i = 0;
  for (; i + f16_lanes <= n; i += f16_lanes) float_to_f16(in + i, out + i);
  return i;
}
#else
inline std::ptrdiff_t decode_vectors(const std::uint16_t*, std::ptrdiff_t, float*) { return 0; }
inline std::ptrdiff_t encode_vectors(const float*, std::ptrdiff_t, std::uint16_t*) { return 0; }
#endif

template <class Format>
constexpr bool has_instructions = false;
template <>
constexpr bool has_instructions<f16> = true;

template <class Format>
void decode(const Stream& s, std::ptrdiff_t first, std::ptrdiff_t n, void* numbers) {
  using Item = typename Format::Item;
  auto* const out = static_cast<typename Format::Number*>(numbers);
  std::ptrdiff_t done = 0;
  if constexpr (has_instructions<Format>)
    if (s.at.contiguous) done = decode_vectors(reinterpret_cast<const Item*>(s.at.data) + first, n, out);
  for_each_item<const Item>(s.at, first + done, n - done,
                            [&](Item x, std::ptrdiff_t i) { out[done + i] = Format::decode(x); });
}

/// Calls body(done, count, noise) for successive parts of elements [first, first + n). A part has `count` elements and
/// begins at first + done. `noise` has the random bits of its elements. If `first` is the first element of a block,
/// every part begins with the first element of a block.
template <class Body>
inline void with_noise(const Rounding& rounding, std::ptrdiff_t first, std::ptrdiff_t n, Body&& body) {
  alignas(64) std::uint32_t noise[noise_room];
  for (std::ptrdiff_t done = 0; done < n; done += noise_room) {
    const std::ptrdiff_t count = n - done < noise_room ? n - done : noise_room;
    make_noise(rounding.key, first + done, count, noise);
    body(done, count, noise);
  }
}

template <class Format>
void encode(const void* numbers, const Stream& s, std::ptrdiff_t first, std::ptrdiff_t n, const Rounding& rounding) {
  using Item = typename Format::Item;
  auto* const in = static_cast<const typename Format::Number*>(numbers);
  if constexpr (sizeof(Item) == 2) {
    if (rounding.stochastic)
      return with_noise(rounding, first, n, [&](std::ptrdiff_t done, std::ptrdiff_t count, const std::uint32_t* noise) {
        for_each_item<Item>(s.at, first + done, count,
                            [&](Item& x, std::ptrdiff_t i) { x = Format::encode(in[done + i], noise[i]); });
      });
  }
  std::ptrdiff_t done = 0;
  if constexpr (has_instructions<Format>)
    if (s.at.contiguous) done = encode_vectors(in, n, reinterpret_cast<Item*>(s.at.data) + first);
  for_each_item<Item>(s.at, first + done, n - done,
                      [&](Item& x, std::ptrdiff_t i) { x = Format::encode(in[done + i]); });
}

}  // namespace
}  // namespace fusedstep
