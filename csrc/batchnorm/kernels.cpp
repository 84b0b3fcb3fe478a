// Batch normalisation (Ioffe and Szegedy 2015, algorithm 1) and its gradient (section 3 of the same paper). This file
// is compiled once per instruction set, and FUSEDSTEP_LEVEL is the name of the set. Only the table at the end has
// external linkage. So the linker cannot replace a function by the same function of another instruction set.
#include "batchnorm/backward.simd.h"
#include "batchnorm/forward.simd.h"
#include "batchnorm/moments.simd.h"

namespace fusedstep {

extern constexpr BatchNormKernels FUSEDSTEP_TABLE(batch_norm_kernels) = {
    {batch_moments<float>, batch_moments<double>, batch_moments<Half<bf16>>, batch_moments<Half<f16>>},
    {batch_sums<float>, batch_sums<double>, batch_sums<Half<bf16>>, batch_sums<Half<f16>>},
    {batch_apply<float>, batch_apply<double>},
    {batch_gradient<float>, batch_gradient<double>}};

}  // namespace fusedstep
