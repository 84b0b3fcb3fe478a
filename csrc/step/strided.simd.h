// Reading and zeroing a gradient of any strides, a block at a time.
#pragma once

#include <cstddef>

#include "step/strided.h"

namespace fusedstep {
namespace {

constexpr std::ptrdiff_t block_size = 128;

/// Calls visit(address, stride, count, done) for the innermost stretches that make up elements
/// [first, first + n) of a strided gradient.
template <class Visit>
inline void for_each_stretch(const Gradient& g, std::ptrdiff_t first, std::ptrdiff_t n, Visit&& visit) {
  const Gradient::Dim* dims = g.dims.data();
  const int inner = int(g.dims.size()) - 1;
  for (std::ptrdiff_t done = 0; done < n;) {
    std::ptrdiff_t rest = first + done;
    char* at = g.data;
    std::ptrdiff_t room = 0;
    for (int d = inner; d >= 0; --d) {
      const std::ptrdiff_t index = rest % dims[d].size;
      rest /= dims[d].size;
      at += index * dims[d].stride;
      if (d == inner) room = dims[d].size - index;
    }
    const std::ptrdiff_t count = room < n - done ? room : n - done;
    visit(at, dims[inner].stride, count, done);
    done += count;
  }
}

template <class T>
inline void gather(const Gradient& g, std::ptrdiff_t first, std::ptrdiff_t n, T* out) {
  for_each_stretch(g, first, n,
                   [out](const char* at, std::ptrdiff_t stride, std::ptrdiff_t count, std::ptrdiff_t done) {
                     for (std::ptrdiff_t i = 0; i < count; ++i)
                       out[done + i] = *reinterpret_cast<const T*>(at + i * stride);
                   });
}

/// Elements [first, first + n): where they lie if they lie side by side, else gathered into `buffer`.
template <class T>
inline const T* view(const Gradient& g, std::ptrdiff_t first, std::ptrdiff_t n, T* buffer) {
  if (g.contiguous) return reinterpret_cast<const T*>(g.data) + first;
  gather(g, first, n, buffer);
  return buffer;
}

template <class T>
inline void zero(const Gradient& g, std::ptrdiff_t first, std::ptrdiff_t n) {
  if (g.contiguous) {
    T* data = reinterpret_cast<T*>(g.data) + first;
    for (std::ptrdiff_t i = 0; i < n; ++i) data[i] = T(0);
    return;
  }
  for_each_stretch(g, first, n, [](char* at, std::ptrdiff_t stride, std::ptrdiff_t count, std::ptrdiff_t) {
    for (std::ptrdiff_t i = 0; i < count; ++i) *reinterpret_cast<T*>(at + i * stride) = T(0);
  });
}

}  // namespace
}  // namespace fusedstep
