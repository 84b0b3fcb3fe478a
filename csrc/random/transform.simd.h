// y[i] = fn(x[i], i), in whole vectors wherever y allows it. The function is generic: it is given a scalar or a
// vector of neighbours, so that a formula is written once.
#pragma once

#include "random/philox.simd.h"

namespace fusedstep {
namespace {

/// How many elements lie between the last boundary of vectors and p.
template <class T>
inline std::ptrdiff_t past_boundary(const T* p) {
  return std::ptrdiff_t(reinterpret_cast<std::uintptr_t>(p) / sizeof(T) % std::uintptr_t(width<T>));
}

template <bool past_cache, class T, class F>
inline void transform(const T* x, T* y, std::ptrdiff_t n, F&& fn) {
  constexpr int length = width<T>;
  const std::ptrdiff_t to_boundary = (length - past_boundary(y)) % length;
  const std::ptrdiff_t head = n < to_boundary ? n : to_boundary;
  std::ptrdiff_t i = 0;
  for (; i < head; ++i) y[i] = fn(x[i], i);
  for (; i + length <= n; i += length) {
    Whole<T> v;
    __builtin_memcpy(&v, x + i, sizeof v);
    put<past_cache>(y + i, fn(v, i));
  }
  for (; i < n; ++i) y[i] = fn(x[i], i);
}

}  // namespace
}  // namespace fusedstep
