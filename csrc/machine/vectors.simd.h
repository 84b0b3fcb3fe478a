// Vectors of the machine's width, and loops over vectors. A loop's formula is written once, for full vectors and for
// the shorter vectors and single numbers at the end of an array.
#pragma once

#include <cstddef>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fusedstep {
namespace {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

#define FUSEDSTEP_INLINE [[gnu::always_inline]] inline

template <class T, int N>
struct VectorOf {
  typedef T type __attribute__((vector_size(N * sizeof(T))));
};
template <class T>
struct VectorOf<T, 1> {
  typedef T type;
};
template <class T, int N>
using Vector = typename VectorOf<T, N>::type;

template <class T>
constexpr int width = vector_bytes / int(sizeof(T));

/// A vector of the machine's full width.
template <class T>
using Whole = Vector<T, width<T>>;

template <class V, class T>
FUSEDSTEP_INLINE V load(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

template <class V, class T>
FUSEDSTEP_INLINE void store(T* p, V v) {
  __builtin_memcpy(p, &v, sizeof v);
}

/// Stores a full vector at an aligned address and bypasses the caches.
template <class V, class T>
FUSEDSTEP_INLINE void stream_store(T* p, V v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(reinterpret_cast<float*>(p), (__m512)v);
#elif defined(__AVX__)
  _mm256_stream_ps(reinterpret_cast<float*>(p), (__m256)v);
#elif defined(__x86_64__)
  _mm_stream_ps(reinterpret_cast<float*>(p), (__m128)v);
#else
  store(p, v);
#endif
}

/// For a loop in which i grows by `step` elements: prefetches the cache line of element i into the second-level cache,
/// once per line. i may be outside the array.
template <int step, class T>
FUSEDSTEP_INLINE void prefetch(const T* p, std::ptrdiff_t i) {
  constexpr std::ptrdiff_t line = 64 / sizeof(T);
  if (step >= line || i % line < step) __builtin_prefetch(p + i, 0, 2);
}

/// Loops over many elements prefetch elements at this distance from the current element.
constexpr std::ptrdiff_t step_ahead = 512;

/// Prefetches the n items from p + step_ahead on into the first-level cache. They may be outside the array.
template <std::ptrdiff_t n, class T>
FUSEDSTEP_INLINE void prefetch_ahead(const T* p) {
#pragma GCC unroll 16
  for (std::ptrdiff_t i = 0; i < n; i += std::ptrdiff_t(64 / sizeof(T))) __builtin_prefetch(p + step_ahead + i);
}

/// Makes streaming stores visible to the next thread that synchronises with this one.
FUSEDSTEP_INLINE void end_streaming() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

template <bool stream, class V, class T>
FUSEDSTEP_INLINE void put(T* p, V v) {
  if constexpr (stream && int(sizeof(V)) == vector_bytes)
    stream_store(p, v);
  else
    store(p, v);
}

template <class T>
FUSEDSTEP_INLINE T* offset_or_null(T* p, std::ptrdiff_t at) {
  return p ? p + at : nullptr;
}

/// Values that depend on the channel. `Constant` has one value for all elements, `PerElement` has one for each element.
template <class T>
struct Constant {
  T value;
  template <class V>
  FUSEDSTEP_INLINE V at(std::ptrdiff_t) const {
    return value - V{};  // value + V{} would change -0 to +0
  }
};
template <class T>
struct PerElement {
  const T* values;
  template <class V>
  FUSEDSTEP_INLINE V at(std::ptrdiff_t i) const {
    return load<V>(values + i);
  }
};

template <class T, int N, class Visit>
FUSEDSTEP_INLINE void visit_rest(std::ptrdiff_t i, std::ptrdiff_t n, const Visit& visit) {
  for (; i + N <= n; i += N) visit.template operator()<Vector<T, N>>(i);
  if constexpr (N > 1) visit_rest<T, N / 2>(i, n, visit);
}

/// Calls visit.operator()<V>(i) for vectors that cover [0, n).
template <class T, class Visit>
FUSEDSTEP_INLINE void for_vectors(std::ptrdiff_t n, const Visit& visit) {
  visit_rest<T, width<T>>(0, n, visit);
}

constexpr int line_bytes = 64;

/// Calls visit.operator()<V>(i, k) for vectors that cover [0, n). k is the index of the vector's first coefficient: i
/// mod `period`, or a little more, because k is reduced only after whole vectors. If `stream` is true, full vectors are
/// stored past the caches. They are then used only for whole cache lines of `target`, because it is slow to store a
/// part of a line past the caches.
template <bool stream, class T, class Visit>
FUSEDSTEP_INLINE void walk(const T* target, std::ptrdiff_t n, std::ptrdiff_t period, const Visit& visit) {
  constexpr int W = width<T>, step = stream ? line_bytes / int(sizeof(T)) : W;
  const auto narrow = [&](std::ptrdiff_t i, std::ptrdiff_t end, std::ptrdiff_t k) {
    visit_rest<T, W / 2>(i, end, [&]<class V>(std::ptrdiff_t at) { visit.template operator()<V>(at, at - i + k); });
  };
  std::ptrdiff_t i = 0;
  if constexpr (stream) {
    i = std::ptrdiff_t((-reinterpret_cast<std::uintptr_t>(target) % line_bytes) / sizeof(T));
    if (i > n) i = n;
    narrow(0, i, 0);
  }
  std::ptrdiff_t k = i;
  for (std::ptrdiff_t left = (n - i) / step; left > 0;) {
    std::ptrdiff_t steps = (period - k + step - 1) / step;
    if (steps > left) steps = left;
    left -= steps;
    for (; steps > 0; --steps, i += step, k += step)
      for (int v = 0; v < step; v += W) visit.template operator()<Vector<T, W>>(i + v, k + v);
    if (k >= period) k -= period;
  }
  narrow(i, n, k);
}

/// The number of elements from the last vector boundary to p. A vector boundary is an address that is a multiple of the
/// vector's size.
template <class T>
inline std::ptrdiff_t past_boundary(const T* p) {
  return std::ptrdiff_t(reinterpret_cast<std::uintptr_t>(p) / sizeof(T) % std::uintptr_t(width<T>));
}

/// Computes y[i] = fn(x[i], i), with full vectors wherever the alignment of y allows it. fn is generic: it takes one
/// number or a vector of neighbouring numbers.
template <bool stream, class T, class F>
inline void transform(const T* x, T* y, std::ptrdiff_t n, F&& fn) {
  constexpr int length = width<T>;
  const std::ptrdiff_t to_boundary = (length - past_boundary(y)) % length;
  const std::ptrdiff_t head = n < to_boundary ? n : to_boundary;
  std::ptrdiff_t i = 0;
  for (; i < head; ++i) y[i] = fn(x[i], i);
  for (; i + length <= n; i += length) put<stream>(y + i, fn(load<Whole<T>>(x + i), i));
  for (; i < n; ++i) y[i] = fn(x[i], i);
}

/// Calls body.operator()<flags...>() with the flags as constants. So every combination of flags is compiled separately.
template <bool... chosen, class Body>
inline void with_flags(const Body& body) {
  body.template operator()<chosen...>();
}
template <bool... chosen, class Body, class... Rest>
inline void with_flags(const Body& body, bool flag, Rest... rest) {
  flag ? with_flags<chosen..., true>(body, rest...) : with_flags<chosen..., false>(body, rest...);
}

}  // namespace
}  // namespace fusedstep
