#pragma once

#include <cstddef>

#include "step/kernel.h"

namespace fusedstep {

/// The sum of x_i^2, in float64. The bits do not depend on the number of threads.
double sum_of_squares(const char* x, std::ptrdiff_t n, DType dtype);

}  // namespace fusedstep
