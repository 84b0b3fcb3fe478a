// Steps of tensors whose streams have any format. A stream is the parameter, its gradient or a state. A block of at
// most 256 elements of each stream is decoded into the first-level cache. The kernels for float32 or float64 update the
// block, and the parameter and the states are encoded. A stream without gaps whose items are float32 or float64 is used
// in place.
#pragma once

#include "step/plan.h"

namespace fusedstep {

/// The options of stochastic rounding. The random bits of a step depend on `seed` and on the tensor.
struct Randomness {
  std::uint64_t seed = 0;
  bool parameters = false, states = false;  // true: these numbers are rounded stochastically
};

/// Updates elements [first, first + n) of a tensor, block by block. Stages are additional operations of a step, for
/// example clipping by value. In some formats, the elements of a block share a scale or a sum; see has_blocks. If a
/// stream has such a format, the range must consist of whole blocks. The last block of the tensor may be incomplete.
void sweep_blocks(SweepFn sweep, const FusedList& fused, const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n,
                  const Stages& stages, const Coefficients& coefficients, const Randomness& randomness);

/// Updates elements [first, first + n) of a tensor whose streams are all used in place.
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

/// Adds the squares of elements [first, first + n) of a gradient to the partial sums `lanes`. The square of element
/// first + i is added to lane (lane + i) mod norm_lanes.
void add_squares(const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n, unsigned lane, double* lanes);

/// True if the elements [first, first + n) of a gradient, multiplied by `factor`, are all finite.
bool all_finite(const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n, double factor);

/// Adds the squares of elements [first, first + n) of a float64 gradient to `sum`. Each element is multiplied by
/// `power`, a power of two, before it is squared.
void add_scaled_squares(const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n, double power, double& sum);

void zero_gradient(const Tensor& t, std::ptrdiff_t first, std::ptrdiff_t n);

/// Exchanges the elements of a parameter with those of `other`. `other` is contiguous, and has the dtype and the memory
/// order of the parameter.
void exchange_parameter(const Tensor& t, void* other);

}  // namespace fusedstep
