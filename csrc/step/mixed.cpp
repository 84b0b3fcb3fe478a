#include "step/mixed.h"

#include <algorithm>

#include "step/strided.simd.h"

namespace fusedstep {
namespace {

using Item = std::uint16_t;
constexpr std::ptrdiff_t span = 512;  // six arrays of it, as float32, lie in the first-level cache

/// Calls body(done, n) for the blocks of a run.
template <class Body>
void for_blocks(std::ptrdiff_t count, Body&& body) {
  for (std::ptrdiff_t done = 0; done < count; done += span) body(done, std::min(span, count - done));
}

/// Elements [first, first + n) of a gradient, as float32.
void widen_gradient(DType dtype, const Gradient& g, std::ptrdiff_t first, std::ptrdiff_t n, float* out) {
  Item buffer[span];
  step_kernels().half.widen[half_index(dtype)](view(g, first, n, buffer), out, n);
}

}  // namespace

void mixed_sweep(SweepFn sweep, DType dtype, const Run& run, const Stages& st, const Coefficients& coefficients) {
  const HalfKernels& half = step_kernels().half;
  Stages stages = st;
  stages.zero_gradient = false;  // of the copy
  for_blocks(run.count, [&](std::ptrdiff_t done, std::ptrdiff_t n) {
    alignas(64) float g[span], p[span], states[max_states][span];
    const std::ptrdiff_t first = run.first + done;
    const auto item = [first](void* base) { return static_cast<Item*>(base) + first; };
    widen_gradient(dtype, *run.gradient, first, n, g);
    half.widen[half_index(dtype)](item(run.p), p, n);
    const Gradient gradient{reinterpret_cast<char*>(g), true, {}};
    Run block{p, {}, run.ema ? static_cast<float*>(run.ema) + first : nullptr, &gradient, 0, n};
    for (int k = 0; k < max_states; ++k)
      if (run.states[k]) half.widen[half_index(dtype)](item(run.states[k]), states[k], n), block.states[k] = states[k];
    sweep(block, stages, coefficients);
    half.narrow[half_index(dtype)](p, item(run.p), n);
    for (int k = 0; k < max_states; ++k)
      if (run.states[k]) half.narrow[half_index(dtype)](states[k], item(run.states[k]), n);
    if (st.zero_gradient) zero<Item>(*run.gradient, first, n);
  });
}

void mixed_square_sum(DType dtype, const Run& run, unsigned lane, double* lanes) {
  static_assert(span % norm_lanes == 0, "every block begins with the run's lane");
  for_blocks(run.count, [&](std::ptrdiff_t done, std::ptrdiff_t n) {
    float g[span];
    widen_gradient(dtype, *run.gradient, run.first + done, n, g);
    const Gradient gradient{reinterpret_cast<char*>(g), true, {}};
    step_kernels().square_sum[int(DType::f32)]({nullptr, {}, nullptr, &gradient, 0, n}, lane, lanes);
  });
}

bool mixed_finite(DType dtype, const Gradient& gradient, std::ptrdiff_t first, std::ptrdiff_t n) {
  const Item exponent = dtype == DType::bf16 ? 0x7f80 : 0x7c00;
  bool finite = true;
  for_blocks(n, [&](std::ptrdiff_t done, std::ptrdiff_t count) {
    Item buffer[span];
    const Item* x = view(gradient, first + done, count, buffer);
    finite = finite && std::all_of(x, x + count, [=](Item v) { return (v & exponent) != exponent; });
  });
  return finite;
}

void mixed_zero(const Gradient& gradient, std::ptrdiff_t first, std::ptrdiff_t n) { zero<Item>(gradient, first, n); }

}  // namespace fusedstep
