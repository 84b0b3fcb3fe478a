// Products of small matrices: OpenBLAS's kernels, one tile of the result at a time, on our own threads.
#pragma once

#include <cstddef>

#include "formats/dtype.h"

namespace fusedstep {

/// Its rows are contiguous, or its columns if it is transposed; `stride` is the distance between two of them in
/// elements.
struct Matrix {
  const char* data;
  std::ptrdiff_t rows, columns, stride;
  bool transposed;
};

/// The sides of the result by which threads can share it: each then has rows, or columns, of its own.
enum class Side { rows, columns };

/// Looks for OpenBLAS in a loaded library and in those that it needs; returns whether it was found. Only the first call
/// looks.
bool find_blas(const char* library);

/// out = a b, in contiguous rows that overlap neither; the bits do not depend on the threads (0: as many as the limits
/// and OpenBLAS's own allow). Returns false and writes nothing if NumPy's product should be used instead.
bool multiply(const Matrix& a, const Matrix& b, char* out, DType dtype, Side shared, int threads);

}  // namespace fusedstep
