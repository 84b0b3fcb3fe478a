// Products of small matrices: OpenBLAS's kernels, one tile of the result at a time, on our own threads.
#pragma once

#include <cstddef>

#include "formats/dtype.h"

namespace fusedstep {

/// Its rows are contiguous, or, seen transposed, its columns; `stride` elements lie between two of them.
struct Matrix {
  const char* data;
  std::ptrdiff_t rows, columns, stride;
  bool transposed;
};

/// The sides of the result by which threads can share it: each then has rows, or columns, of its own.
enum class Side { rows, columns };

/// Looks for OpenBLAS in a library that is loaded, and in those that it needs; true if it is there. Only the first call
/// looks.
bool find_blas(const char* library);

/// out = a b, in contiguous rows that overlap neither; the bits do not depend on the threads (0: as many as the limits
/// and OpenBLAS's own allow). False, and nothing written, if whoever asks had better call NumPy.
bool multiply(const Matrix& a, const Matrix& b, char* out, DType dtype, Side shared, int threads);

}  // namespace fusedstep
