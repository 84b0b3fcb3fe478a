// A mask with one bit per element. The bit is 1 if a ReLU passed the element, and 0 if the ReLU returned 0.
#pragma once

#include "machine/vectors.simd.h"

namespace fusedstep {
namespace {

template <class V>
FUSEDSTEP_INLINE V where_positive(V z, V value) {  // nan counts as positive, as in torch
  return z <= V{} ? V{} : value;
}

/// Bit k is 1 if element k is positive or nan.
template <class T, class V>
FUSEDSTEP_INLINE std::uint32_t positive_bits(V z) {
  [[maybe_unused]] constexpr bool f32 = sizeof(T) == 4;
#if defined(__AVX512F__)
  if constexpr (sizeof(V) == 64 && f32) return _mm512_cmp_ps_mask((__m512)z, __m512{}, _CMP_NLE_UQ);
  if constexpr (sizeof(V) == 64 && !f32) return _mm512_cmp_pd_mask((__m512d)z, __m512d{}, _CMP_NLE_UQ);
#endif
#if defined(__AVX__)
  if constexpr (sizeof(V) == 32 && f32)
    return unsigned(_mm256_movemask_ps(_mm256_cmp_ps((__m256)z, __m256{}, _CMP_NLE_UQ)));
  if constexpr (sizeof(V) == 32 && !f32)
    return unsigned(_mm256_movemask_pd(_mm256_cmp_pd((__m256d)z, __m256d{}, _CMP_NLE_UQ)));
#endif
#if defined(__x86_64__)
  if constexpr (sizeof(V) == 16 && f32) return unsigned(_mm_movemask_ps(_mm_cmpnle_ps((__m128)z, __m128{})));
  if constexpr (sizeof(V) == 16 && !f32) return unsigned(_mm_movemask_pd(_mm_cmpnle_pd((__m128d)z, __m128d{})));
#endif
  T values[sizeof(V) / sizeof(T)];
  store(values, z);
  std::uint32_t bits = 0;
  for (std::size_t k = 0; k < sizeof(V) / sizeof(T); ++k) bits |= std::uint32_t(!(values[k] <= T(0))) << k;
  return bits;
}

/// Writes bits in order. In the first word, the bits before the first written bit are kept. In the last word, the bits
/// after the last written bit are overwritten.
class BitWriter {
 public:
  BitWriter(std::uint32_t* words, std::ptrdiff_t bit) : words_(offset_or_null(words, bit / 32)) {
    if (words && bit % 32) pending_ = *words_ & ((1u << bit % 32) - 1), filled_ = int(bit % 32);
  }
  FUSEDSTEP_INLINE void put(std::uint32_t bits, int count) {
    pending_ |= std::uint64_t(bits) << filled_;
    filled_ += count;
    if (filled_ < 32) return;
    *words_++ = std::uint32_t(pending_);
    pending_ >>= 32, filled_ -= 32;
  }
  FUSEDSTEP_INLINE void end() {
    if (filled_ > 0) *words_ = std::uint32_t(pending_);
  }

 private:
  std::uint32_t* words_;
  std::uint64_t pending_ = 0;
  int filled_ = 0;
};

template <class T>
struct WordOf {
  using type = std::uint32_t;
};
template <>
struct WordOf<double> {
  using type = std::uint64_t;
};

/// Returns `value` where the bit in the mask is 1, and 0 where it is 0. `bit` is the index of the first element's bit.
/// Reads up to 3 bytes beyond the bits.
template <class T, class V>
FUSEDSTEP_INLINE V where_set(const void* words, std::ptrdiff_t bit, V value) {
  using Word = typename WordOf<T>::type;
  constexpr int n = sizeof(V) / sizeof(T);
  std::uint32_t around;
  __builtin_memcpy(&around, static_cast<const unsigned char*>(words) + bit / 8, sizeof around);
  const Word bits = around >> (bit % 8);
  if constexpr (n == 1) {
    return bits & 1 ? value : V{};
  } else {
    using Words = Vector<Word, n>;
    Words place;
    for (int k = 0; k < n; ++k) place[k] = Word(1) << k;
    return ((Words{} + bits) & place) != Words{} ? value : V{};
  }
}

}  // namespace
}  // namespace fusedstep
