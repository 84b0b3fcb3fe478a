// Sums of squares of the rows of matrices, and divisions of rows by the square root of the product of two factors.
#pragma once

#include "step/norm.simd.h"

namespace fusedstep {
namespace {

template <class T>
double squares_of_row(const T* x, std::ptrdiff_t n) {
  double lanes[norm_lanes] = {};
  if (n >= norm_lanes) {
    add_squares(x, n, 0, lanes);
    return sum_of_lanes(lanes);
  }
  for (std::ptrdiff_t i = 0; i < n; ++i) lanes[0] += double(x[i]) * double(x[i]);
  return lanes[0];
}

template <class T>
void row_column_squares(const void* from, std::ptrdiff_t rows, std::ptrdiff_t columns, double* __restrict of_rows,
                        double* __restrict of_columns) {
  const T* x = static_cast<const T*>(from);
  for (std::ptrdiff_t i = 0; i < rows; ++i, x += columns) {
    of_rows[i] = squares_of_row(x, columns);
    if (of_columns)
      for (std::ptrdiff_t j = 0; j < columns; ++j) of_columns[j] += double(x[j]) * double(x[j]);
  }
}

/// Writes y = x / sqrt(max(row * column, floor)). If `floor` is positive but smaller than the smallest normal number of
/// T, this normal number is used instead. If x, row or column is nan, y is nan.
template <class T>
void divide_by_factors(const void* x_, const void* row_, const void* column_, std::ptrdiff_t rows,
                       std::ptrdiff_t columns, double floor, void* y_) {
  const T *x = static_cast<const T*>(x_), *const row = static_cast<const T*>(row_);
  const T* const __restrict column = static_cast<const T*>(column_);
  T* __restrict y = static_cast<T*>(y_);
  constexpr double smallest = sizeof(T) == 4 ? 0x1p-126 : 0x1p-1022;
  const T least = T(floor > 0.0 && floor < smallest ? smallest : floor);
  for (std::ptrdiff_t i = 0; i < rows; ++i, x += columns, y += columns)
    for (std::ptrdiff_t j = 0; j < columns; ++j) {
      const T v = row[i] * column[j];
      y[j] = x[j] / root(v < least ? least : v);
    }
}

}  // namespace
}  // namespace fusedstep
