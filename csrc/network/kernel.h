// The kernels of small networks: bias and ReLU, softmax and its loss.
#pragma once

#include <cstddef>
#include <cstdint>

#include "machine/level.h"

namespace fusedstep {

/// y = max(x + bias, 0), row by row; bias may be null, and y may be x.
using ReluFn = void (*)(const void* x, const void* bias, void* y, std::ptrdiff_t rows, std::ptrdiff_t width);

/// dx = dy where y > 0, else 0; dx may be dy.
using ReluBackwardFn = void (*)(const void* dy, const void* y, void* dx, std::ptrdiff_t n);

/// losses[i] = -log softmax(z_i)[labels[i]], and the gradient of their mean. Each label must be below `width`.
using SoftmaxLossFn = void (*)(const void* z, const std::int64_t* labels, void* losses, void* gradient,
                               std::ptrdiff_t rows, std::ptrdiff_t width);

/// Indexed by dtype.
struct NetworkKernels {
  ReluFn relu[2];
  ReluBackwardFn relu_backward[2];
  SoftmaxLossFn softmax_loss[2];
};
FUSEDSTEP_TABLES(NetworkKernels, network_kernels)

}  // namespace fusedstep
