// Batch normalisation (Ioffe and Szegedy, 2015, algorithm 1; its gradient, section 3): the table's entry.
#pragma once

#include "layers/batchnorm_backward.h"
#include "layers/batchnorm_forward.h"
#include "layers/batchnorm_moments.h"

namespace fusedstep {
namespace {

constexpr BatchNormKernels batch_norm_kernels = {{batch_moments<float>, batch_moments<double>},
                                                 {batch_sums<float>, batch_sums<double>},
                                                 {batch_apply<float>, batch_apply<double>},
                                                 {batch_gradient<float>, batch_gradient<double>}};

}  // namespace
}  // namespace fusedstep
