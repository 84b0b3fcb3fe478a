// Sums of squares. Their bits depend on the elements and their positions, and not on threads or vector widths.
#pragma once

#include "step/sweep.simd.h"

namespace fusedstep {
namespace {

/// Adds the squares of `rows` rows of norm_lanes elements to the lanes (partial sums). Element k of every row is added
/// to lane k. So the indices of the lanes are compile-time constants, and the lanes stay in registers.
template <class T>
inline void add_rows(const T* g, std::ptrdiff_t rows, double* lanes) {
  double sum[norm_lanes];
  for (int k = 0; k < norm_lanes; ++k) sum[k] = lanes[k];
  for (; rows > 0; --rows, g += norm_lanes) {
    prefetch_ahead<norm_lanes>(g);
    for (int k = 0; k < norm_lanes; ++k) sum[k] += double(g[k]) * double(g[k]);
  }
  for (int k = 0; k < norm_lanes; ++k) lanes[k] = sum[k];
}

/// Adds g[i]^2 to lane (lane + i) mod norm_lanes, in order, in double. So the sum does not depend on the number of
/// threads or the width of vectors.
template <class T>
inline void add_squares(const T* g, std::ptrdiff_t n, unsigned lane, double* lanes) {
  std::ptrdiff_t i = 0;
  for (; i < n && lane % norm_lanes != 0; ++i, ++lane) lanes[lane % norm_lanes] += double(g[i]) * double(g[i]);
  const std::ptrdiff_t rows = (n - i) / norm_lanes;
  add_rows(g + i, rows, lanes);
  for (i += rows * norm_lanes; i < n; ++i, ++lane) lanes[lane % norm_lanes] += double(g[i]) * double(g[i]);
}

template <class T>
void square_sum(const void* g, std::ptrdiff_t n, unsigned lane, double* lanes) {
  add_squares(static_cast<const T*>(g), n, lane, lanes);
}

template <class T, int N>
FUSEDSTEP_INLINE void add_to_all(T* const* x, const T* g, std::ptrdiff_t n) {
#if defined(__clang__)
#pragma clang loop vectorize(assume_safety)
#else
#pragma GCC ivdep
#endif
  for (std::ptrdiff_t i = 0; i < n; ++i)
    for (int k = 0; k < N; ++k) x[k][i] += g[i];
}

/// Reads and writes the same arrays as an optimizer step, with the same prefetches. The only arithmetic is to add the
/// gradient to each of the other arrays. Benchmarks compare the time of a step with the time of this function.
template <class T, int N>
inline void touch(void* const* read_write, const T* g, std::ptrdiff_t first, std::ptrdiff_t n) {
  T* x[N];
  for (int k = 0; k < N; ++k) x[k] = static_cast<T*>(read_write[k]) + first;
  for (; n >= prefetched_alone; n -= prefetched_alone, g += prefetched_alone) {
    add_to_all<T, N>(x, g, prefetched_alone);
    prefetch_ahead<prefetched_alone>(g);
    for (T*& each : x) prefetch_ahead<prefetched_alone>(each), each += prefetched_alone;
  }
  add_to_all<T, N>(x, g, n);
}

template <class T>
void roofline(void* const* read_write, int count, const void* read, std::ptrdiff_t first, std::ptrdiff_t n) {
  const T* g = static_cast<const T*>(read) + first;
  switch (count) {
    case 1:
      return touch<T, 1>(read_write, g, first, n);
    case 2:
      return touch<T, 2>(read_write, g, first, n);
    case 3:
      return touch<T, 3>(read_write, g, first, n);
    case 4:
      return touch<T, 4>(read_write, g, first, n);
    case 5:
      return touch<T, 5>(read_write, g, first, n);
    default:
      return;
  }
}

}  // namespace
}  // namespace fusedstep
