// 16-bit parameters: a block at a time is widened to float32, taken through the kernels of float32, and rounded back.
// No rule is compiled for them.
#pragma once

#include "step/kernel.h"

namespace fusedstep {

/// What a sweep of float32 does to `run`, whose parameter, states and gradient are 16-bit; its average is float32.
void mixed_sweep(SweepFn sweep, DType dtype, const Run& run, const Stages& stages, const Coefficients& coefficients);

/// What square_sum of float32 does.
void mixed_square_sum(DType dtype, const Run& run, unsigned lane, double* lanes);

/// True if the run of the gradient holds neither inf nor nan.
bool mixed_finite(DType dtype, const Gradient& gradient, std::ptrdiff_t first, std::ptrdiff_t n);

void mixed_zero(const Gradient& gradient, std::ptrdiff_t first, std::ptrdiff_t n);

}  // namespace fusedstep
