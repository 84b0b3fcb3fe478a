// Adds the bias of a layer and applies ReLU, in one pass.
#pragma once

#include "machine/vectors.simd.h"
#include "network/kernel.h"

namespace fusedstep {
namespace {

template <class V>
FUSEDSTEP_INLINE V rectified(V x) {
  return x < V{} ? V{} : x;  // nan stays nan, because the comparison is false
}

template <class T>
void relu(const void* from, const void* bias, void* to, std::ptrdiff_t rows, std::ptrdiff_t width) {
  const T *x = static_cast<const T*>(from), *const b = static_cast<const T*>(bias);
  T* y = static_cast<T*>(to);
  if (!b)
    return for_vectors<T>(rows * width, [=]<class V>(std::ptrdiff_t i) { store(y + i, rectified(load<V>(x + i))); });
  for (; rows > 0; --rows, x += width, y += width)
    for_vectors<T>(width, [=]<class V>(std::ptrdiff_t i) { store(y + i, rectified(load<V>(x + i) + load<V>(b + i))); });
}

template <class T>
void relu_backward(const void* upstream, const void* output, void* downstream, std::ptrdiff_t n) {
  const T *const dy = static_cast<const T*>(upstream), *const y = static_cast<const T*>(output);
  T* const dx = static_cast<T*>(downstream);
  for_vectors<T>(n, [=]<class V>(std::ptrdiff_t i) {
    store(dx + i, load<V>(y + i) <= V{} ? V{} : load<V>(dy + i));  // dx = dy where y is nan, as in torch
  });
}

}  // namespace
}  // namespace fusedstep
