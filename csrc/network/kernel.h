// The kernels of small networks: bias with ReLU, and softmax with its loss.
#pragma once

#include <cstddef>
#include <cstdint>

#include "machine/level.h"

namespace fusedstep {

/// y = max(x + bias, 0) for each row. bias may be null, and y may be x.
using ReluFn = void (*)(const void* x, const void* bias, void* y, std::ptrdiff_t rows, std::ptrdiff_t width);

/// dx = dy where y > 0, else 0. dx may be dy.
using ReluBackwardFn = void (*)(const void* dy, const void* y, void* dx, std::ptrdiff_t n);

/// Writes losses[i] = -log softmax(z_i)[labels[i]] for each row z_i, and the gradient of the mean of the losses with
/// respect to z. Each label must be at least 0 and below `width`.
using SoftmaxLossFn = void (*)(const void* z, const std::int64_t* labels, void* losses, void* gradient,
                               std::ptrdiff_t rows, std::ptrdiff_t width);

/// Indexed by DType: float32, float64.
struct NetworkKernels {
  ReluFn relu[2];
  ReluBackwardFn relu_backward[2];
  SoftmaxLossFn softmax_loss[2];
};
FUSEDSTEP_TABLES(NetworkKernels, network_kernels)

}  // namespace fusedstep
