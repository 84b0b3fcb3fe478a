// Second moments of matrices: running averages of the squares of their elements. The second moments of a matrix are
// approximated by the outer product of two vectors, which have one number per row and one number per column.
#pragma once

#include "step/kernel.h"

namespace fusedstep {

/// `count` matrices of the same shape, one after the other in memory without gaps.
struct Matrices {
  std::int64_t count;
  std::ptrdiff_t rows, columns;
};

/// Writes the sum of squares of every row, in float64. The bits do not depend on the number of threads.
void squares_of_rows(const char* x, const Matrices& m, DType dtype, double* of_rows);

/// Running averages of the mean squares of rows and of columns, for all matrices one after the other.
struct Factored {
  const char *row, *column;      // the averages before the step
  char *next_row, *next_column;  // the averages after the step
  double weight;                 // the weight of the new mean squares in the averages
  double eps;                    // lower bound of mean(row) and of the divisor of x; see divide_by_factors
};

/// Updates the averages, and writes y = x / sqrt(row * column / mean(row)) with the updated averages. The bits do not
/// depend on the number of threads.
void divide_by_factors(const char* x, const Matrices& m, DType dtype, const Factored& f, char* y);

}  // namespace fusedstep
