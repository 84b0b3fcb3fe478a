// Streams of any format. Each block is decoded into the first-level cache, taken through the kernels of the computing
// type, and encoded. A stream without gaps whose items are of the computing type is used in place.
#pragma once

#include "step/plan.h"

namespace fusedstep {

/// What the random bits of a step depend on, apart from the tensor.
struct Randomness {
  std::uint64_t seed = 0;
  bool parameters = false, states = false;  // true: rounded stochastically
};

/// Takes elements [first, first + n) of a tensor through a rule and its stages, block by block. If a format has blocks,
/// `first` and the end must be borders of blocks.
void sweep_blocks(SweepFn sweep, const FusedList& fused, const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n,
                  const Stages& stages, const Coefficients& coefficients, const Randomness& randomness);

/// The same for a tensor whose streams are all used in place.
inline void sweep_in_place(SweepFn sweep, const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n, const Stages& stages,
                           const Coefficients& coefficients) {
  const std::ptrdiff_t at = first * item_size(t.dtype);
  const auto from = [at](void* base) { return base ? static_cast<char*>(base) + at : nullptr; };
  const Run run{t.p.data + at,
                {from(t.states[0]), from(t.states[1]), from(t.states[2]), from(t.states[3])},
                from(t.ema),
                t.gradient.data + at,
                n};
  sweep(run, stages, coefficients);
}

/// Adds the squares of elements [first, first + n) of a gradient to the lanes. The first element goes to lane `lane`.
void add_squares(const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n, unsigned lane, double* lanes);

/// True if elements [first, first + n) of a gradient are neither inf nor nan after they are multiplied by a factor.
bool all_finite(const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n, double factor);

/// Adds the squares of elements [first, first + n) of a float64 gradient, each multiplied by a power of two before.
void add_scaled_squares(const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n, double power, double& sum);

void zero_gradient(const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n);

/// Exchanges a parameter with contiguous memory of its dtype, in the parameter's memory order.
void exchange_parameter(const Tensor& t, void* other);

}  // namespace fusedstep
