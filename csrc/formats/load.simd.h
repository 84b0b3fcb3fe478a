// Functions that load items and convert them to the type in which kernels compute. One kernel can thus read several
// types of items.
#pragma once

#include "formats/bf16.h"
#include "formats/f16.h"
#include "machine/vectors.simd.h"

namespace fusedstep {
namespace {

/// An item of 16 bits, which load() converts to float32.
template <class Format>
struct Half {
  std::uint16_t bits;
};

/// `Number` is the type in which kernels compute with an item. `Copied` is the type whose vectors are used to copy
/// items.
template <class Item>
struct ItemTypes {
  using Number = Item;
  using Copied = Item;
};
template <class Format>
struct ItemTypes<Half<Format>> {
  using Number = float;
  using Copied = std::uint16_t;
};
template <class Item>
using Number = typename ItemTypes<Item>::Number;

/// The n items from p on, each in the lower half of 32 bits. Intrinsics are used because gcc 12 translates the generic
/// conversion to several instructions.
template <int n>
FUSEDSTEP_INLINE Vector<std::uint32_t, n> load_bits(const std::uint16_t* p) {
  using V [[maybe_unused]] = Vector<std::uint32_t, n>;
#if defined(__AVX512F__)
  if constexpr (n == 16)
    return (V)_mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#endif
#if defined(__AVX2__)
  if constexpr (n == 8) return (V)_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#endif
#if defined(__SSE4_1__)
  if constexpr (n == 4) return (V)_mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
#endif
  return __builtin_convertvector(load<Vector<std::uint16_t, n>>(p), Vector<std::uint32_t, n>);
}

template <class V>
FUSEDSTEP_INLINE V load(const Half<bf16>* p) {
  constexpr int n = sizeof(V) / sizeof(float);
  if constexpr (n == 1)
    return bf16::decode(p->bits);
  else
    return float_of(load_bits<n>(&p->bits) << 16);
}

template <class V>
FUSEDSTEP_INLINE V load(const Half<f16>* p) {
  constexpr int n = sizeof(V) / sizeof(float);
#if defined(__AVX512F__)
  if constexpr (n == 16)
    return (V)_mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#endif
#if defined(__F16C__)
  if constexpr (n == 8) return (V)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  if constexpr (n <= 4) {
    std::uint64_t bits = 0;
    __builtin_memcpy(&bits, p, n * sizeof *p);
    const __m128 four = _mm_cvtph_ps(_mm_cvtsi64_si128(std::int64_t(bits)));
    return load<V>(reinterpret_cast<const float*>(&four));
  }
#else
  if constexpr (n == 1)
    return f16::decode(p->bits);
  else
    return f16::widened(load_bits<n>(&p->bits));
#endif
}

/// Copies n items.
template <class Item>
FUSEDSTEP_INLINE void copy(const Item* from, std::ptrdiff_t n, Item* to) {
  for_vectors<typename ItemTypes<Item>::Copied>(n, [=]<class V>(std::ptrdiff_t i) {
    V v;
    __builtin_memcpy(&v, from + i, sizeof v);
    __builtin_memcpy(to + i, &v, sizeof v);
  });
}

}  // namespace
}  // namespace fusedstep
