// Second moments of matrices by a factor of their rows and one of their columns.
#pragma once

#include "step/kernel.h"

namespace fusedstep {

/// `count` matrices, one behind the other without gaps.
struct Matrices {
  std::int64_t count;
  std::ptrdiff_t rows, columns;
};

/// Writes the sum of squares of every row, in float64. The same bits for any number of threads, here and below.
void squares_of_rows(const char* x, const Matrices& m, DType dtype, double* of_rows);

/// Averages of the mean squares of rows and of columns, which lie like the rows and columns of all matrices.
struct Factored {
  const char *row, *column;  // so far
  char *next_row, *next_column;
  double weight;  // of the new mean squares
  double eps;     // the smallest mean of the rows' averages, and the smallest root that is divided by
};

/// Takes the averages one step on, and writes y = x / sqrt(row * column / mean(row)).
void divide_by_factors(const char* x, const Matrices& m, DType dtype, const Factored& f, char* y);

}  // namespace fusedstep
