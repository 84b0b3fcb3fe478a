// y[i] = fn(x[i], i), in whole vectors wherever y allows it. The function is generic: it is given a scalar or a
// vector of neighbours, so that a formula is written once.
#pragma once

#include "driver/philox.h"

namespace fusedstep {
namespace {

template <class T>
using Vector __attribute__((vector_size(vector_bytes))) = T;
template <class T>
constexpr int vector_length = vector_bytes / int(sizeof(T));

/// How many elements lie between the last boundary of vectors and p.
template <class T>
inline std::ptrdiff_t past_boundary(const T* p) {
  return std::ptrdiff_t(reinterpret_cast<std::uintptr_t>(p) / sizeof(T) % std::uintptr_t(vector_length<T>));
}

/// Stores a vector at a boundary; past the cache where the machine can.
template <bool past_cache, class T, class V>
inline void store(T* p, const V& v) {
  static_assert(sizeof v == vector_bytes);
#if defined(__AVX512F__)
  if constexpr (past_cache) return _mm512_stream_si512(reinterpret_cast<__m512i*>(p), __m512i(v));
#elif defined(__AVX2__)
  if constexpr (past_cache) return _mm256_stream_si256(reinterpret_cast<__m256i*>(p), __m256i(v));
#elif defined(__SSE2__)
  if constexpr (past_cache) return _mm_stream_si128(reinterpret_cast<__m128i*>(p), __m128i(v));
#endif
  __builtin_memcpy(p, &v, sizeof v);
}

/// Orders stores past the cache before whatever tells others that they are done.
inline void finish_stores() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

template <bool past_cache, class T, class F>
inline void transform(const T* x, T* y, std::ptrdiff_t n, F&& fn) {
  constexpr int length = vector_length<T>;
  const std::ptrdiff_t to_boundary = (length - past_boundary(y)) % length;
  const std::ptrdiff_t head = n < to_boundary ? n : to_boundary;
  std::ptrdiff_t i = 0;
  for (; i < head; ++i) y[i] = fn(x[i], i);
  for (; i + length <= n; i += length) {
    Vector<T> v;
    __builtin_memcpy(&v, x + i, sizeof v);
    store<past_cache>(y + i, fn(v, i));
  }
  for (; i < n; ++i) y[i] = fn(x[i], i);
}

}  // namespace
}  // namespace fusedstep
