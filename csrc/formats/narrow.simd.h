// Conversions between vectors of 32-bit numbers and items of 16 and 8 bits, in memory order. They need AVX2 or AVX-512.
#pragma once

#include "formats/bits.h"
#include "formats/load.simd.h"
#include "machine/vectors.simd.h"

namespace fusedstep {
namespace {

using Floats = Whole<float>;
using Words = Whole<std::uint32_t>;
constexpr int words = width<float>;
using Halves = Vector<std::uint16_t, 2 * words>;
using Bytes = Vector<std::uint8_t, 4 * words>;

/// Combines all elements into one with the function `fold`, which takes two numbers or two vectors.
template <int N = words, class Fold>
FUSEDSTEP_INLINE std::uint32_t reduce(Vector<std::uint32_t, N> x, const Fold& fold) {
  if constexpr (N == 4) {
    return fold(fold(x[0], x[1]), fold(x[2], x[3]));
  } else {
    Vector<std::uint32_t, N / 2> parts[2];
    __builtin_memcpy(parts, &x, sizeof x);
    return reduce<N / 2>(fold(parts[0], parts[1]), fold);
  }
}
FUSEDSTEP_INLINE std::uint32_t total(Words x) {
  return reduce(x, [](auto a, auto b) { return a + b; });
}
FUSEDSTEP_INLINE std::uint32_t greatest(Words x) {
  return reduce(x, [](auto a, auto b) { return a > b ? a : b; });
}

FUSEDSTEP_INLINE bool any_nan(const Floats (&x)[4]) {
#if defined(__AVX512F__)
  return (_mm512_cmp_ps_mask(__m512(x[0]), __m512(x[1]), _CMP_UNORD_Q) |
          _mm512_cmp_ps_mask(__m512(x[2]), __m512(x[3]), _CMP_UNORD_Q)) != 0;
#else
  return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(__m256(x[0]), __m256(x[1]), _CMP_UNORD_Q),
                                         _mm256_cmp_ps(__m256(x[2]), __m256(x[3]), _CMP_UNORD_Q))) != 0;
#endif
}

/// Converts as many items as a vector has words.
FUSEDSTEP_INLINE Words widen(const std::uint16_t* from) { return load_bits<words>(from); }
#if defined(__AVX512BW__)
FUSEDSTEP_INLINE Words widen(const std::int16_t* from) {
  return Words(_mm512_maskz_cvtepi16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
}
FUSEDSTEP_INLINE Words widen(const std::uint8_t* from) {
  return Words(_mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
FUSEDSTEP_INLINE Words widen(const std::int8_t* from) {
  return Words(_mm512_maskz_cvtepi8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

/// Multiplies the elements as signed 16-bit numbers, and adds each pair of neighbouring products.
FUSEDSTEP_INLINE Words products(Halves a, Halves b) { return Words(_mm512_madd_epi16(__m512i(a), __m512i(b))); }

/// The lower halves of the words of two vectors. The upper halves must be 0.
FUSEDSTEP_INLINE Halves halves(Words a, Words b) {
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  return Halves(_mm512_maskz_permutexvar_epi64(0xff, order, _mm512_packus_epi32(__m512i(a), __m512i(b))));
}
/// The lowest bytes of the words of four vectors. The other bytes must be 0.
FUSEDSTEP_INLINE Bytes bytes(const Words (&x)[4]) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i a = _mm512_packus_epi32(__m512i(x[0]), __m512i(x[1]));
  const __m512i b = _mm512_packus_epi32(__m512i(x[2]), __m512i(x[3]));
  return Bytes(_mm512_maskz_permutexvar_epi32(0xffff, order, _mm512_packus_epi16(a, b)));
}
#else
FUSEDSTEP_INLINE Words widen(const std::int16_t* from) {
  return Words(_mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
FUSEDSTEP_INLINE Words widen(const std::uint8_t* from) {
  return Words(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}
FUSEDSTEP_INLINE Words widen(const std::int8_t* from) {
  return Words(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}

FUSEDSTEP_INLINE Words products(Halves a, Halves b) { return Words(_mm256_madd_epi16(__m256i(a), __m256i(b))); }
FUSEDSTEP_INLINE Halves halves(Words a, Words b) {
  return Halves(_mm256_permute4x64_epi64(_mm256_packus_epi32(__m256i(a), __m256i(b)), 0xd8));
}
FUSEDSTEP_INLINE Bytes bytes(const Words (&x)[4]) {
  const __m256i a = _mm256_packus_epi32(__m256i(x[0]), __m256i(x[1]));
  const __m256i b = _mm256_packus_epi32(__m256i(x[2]), __m256i(x[3]));
  return Bytes(_mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
}
#endif

}  // namespace
}  // namespace fusedstep
