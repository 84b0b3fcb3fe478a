// Products of small matrices. The threads of this package call OpenBLAS, and each call computes one tile (a small
// rectangle) of the result.
#pragma once

#include <cstddef>

#include "formats/dtype.h"

namespace fusedstep {

/// A matrix with contiguous rows, or with contiguous columns if it is transposed. `stride` is the distance in elements
/// between two rows, or between two columns if it is transposed.
struct Matrix {
  const char* data;
  std::ptrdiff_t rows, columns, stride;
  bool transposed;
};

/// How the result is divided between threads: each thread computes some rows, or some columns.
enum class Side { rows, columns };

/// Looks for OpenBLAS in a loaded library and in its dependencies. Returns true if OpenBLAS was found. Only the first
/// call searches.
bool find_blas(const char* library);

/// out = a b. `out` has C order without gaps, and must not overlap a or b. If `threads` is 0, as many threads are used
/// as the limits of this package and of OpenBLAS allow. The bits of `out` do not depend on the number of threads. If
/// NumPy's product should be used instead, this function writes nothing and returns false.
bool multiply(const Matrix& a, const Matrix& b, char* out, DType dtype, Side shared, int threads);

}  // namespace fusedstep
