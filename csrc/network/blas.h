// Products of small matrices: OpenBLAS's kernels compute one tile of the result at a time, on our own threads.
#pragma once

#include <cstddef>

#include "formats/dtype.h"

namespace fusedstep {

/// A matrix with contiguous rows, or contiguous columns if it is transposed. `stride` is the distance between two of
/// them in elements.
struct Matrix {
  const char* data;
  std::ptrdiff_t rows, columns, stride;
  bool transposed;
};

/// How threads share the result: each takes some of its rows, or some of its columns.
enum class Side { rows, columns };

/// Looks for OpenBLAS in a loaded library and in its dependencies; returns true if it was found. Only the first call
/// searches.
bool find_blas(const char* library);

/// out = a b, row by row without gaps. `out` must not overlap a or b. The bits do not depend on `threads` (0: as many
/// as the limits of this library and of OpenBLAS allow). Returns false and writes nothing if NumPy's product should be
/// used instead.
bool multiply(const Matrix& a, const Matrix& b, char* out, DType dtype, Side shared, int threads);

}  // namespace fusedstep
