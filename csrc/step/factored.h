// Second moments of matrices by a factor of their rows and one of their columns.
#pragma once

#include "step/kernel.h"

namespace fusedstep {

/// `count` matrices, one behind the other without gaps.
struct Matrices {
  std::int64_t count;
  std::ptrdiff_t rows, columns;
};

/// Writes the sum of squares of every row and, unless null, of every column of each matrix, in float64. The same bits
/// for any number of threads.
void squares_of_rows_and_columns(const char* x, const Matrices& m, DType dtype, double* of_rows, double* of_columns);

/// y = x / sqrt(max(row * column, floor)); the factors lie like the rows and columns of all matrices.
void divide_by_factors(const char* x, const char* row, const char* column, const Matrices& m, DType dtype, double floor,
                       char* y);

}  // namespace fusedstep
