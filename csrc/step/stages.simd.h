// Stages: the operations before and after an update rule, for example clipping and weight decay. Each stage is a loop
// over one block of elements in the first-level cache.
#pragma once

#include "step/kernel.h"

namespace fusedstep {
namespace {

/// Writes g * scale + l2 * p to `out`. If l2 is 0, the term l2 * p is left out, because 0 times inf is nan.
template <class T>
inline void scale_and_decay(const T* g, T* out, const T* p, std::ptrdiff_t n, T scale, T l2) {
  if (l2 != T(0))
    for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = g[i] * scale + l2 * p[i];
  else if (scale != T(1) || g != out)
    for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = g[i] * scale;
}

template <class T>
inline void scale_and_clip(const T* g, T* out, std::ptrdiff_t n, T scale, T bound) {
  for (std::ptrdiff_t i = 0; i < n; ++i) {  // written so that nan stays nan
    const T scaled = g[i] * scale;
    const T low = scaled < -bound ? -bound : scaled;
    out[i] = low > bound ? bound : low;
  }
}

template <class T>
inline void add_sign(T* __restrict g, const T* __restrict p, std::ptrdiff_t n, T amount) {
  for (std::ptrdiff_t i = 0; i < n; ++i) g[i] = g[i] + amount * sign(p[i]);
}

template <class T>
inline void subtract_sign(T* p, std::ptrdiff_t n, T amount) {
  for (std::ptrdiff_t i = 0; i < n; ++i) p[i] = p[i] - amount * sign(p[i]);
}

/// The proximal operator of threshold |x| + (divide - 1) x^2 / 2.
template <class T>
inline void proximal(T* p, std::ptrdiff_t n, T threshold, T divide) {
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    const T x = p[i];
    const T size = (x < T(0) ? -x : x) - threshold;
    const T shrunk = size < T(0) ? T(0) : size;  // nan stays nan
    p[i] = (x < T(0) ? -shrunk : shrunk) / divide;
  }
}

/// Updates the running averages `ema` of the elements of p, with numbers of type N.
template <class T, class N>
inline void average_all(T* __restrict ema, const T* __restrict p, std::ptrdiff_t n, Ema<N> average) {
  for (std::ptrdiff_t i = 0; i < n; ++i) ema[i] = number(average(N(ema[i]), N(p[i])));
}

}  // namespace
}  // namespace fusedstep
