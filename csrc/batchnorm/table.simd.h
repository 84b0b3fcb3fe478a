// Batch normalisation (Ioffe and Szegedy, 2015, algorithm 1; its gradient, section 3): the table's entry.
#pragma once

#include "batchnorm/backward.simd.h"
#include "batchnorm/forward.simd.h"
#include "batchnorm/moments.simd.h"

namespace fusedstep {
namespace {

constexpr BatchNormKernels batch_norm_kernels = {{batch_moments<float>, batch_moments<double>},
                                                 {batch_sums<float>, batch_sums<double>},
                                                 {batch_apply<float>, batch_apply<double>},
                                                 {batch_gradient<float>, batch_gradient<double>}};

}  // namespace
}  // namespace fusedstep
