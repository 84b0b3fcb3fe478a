// The layers of a network. This file is compiled once per instruction set, and FUSEDSTEP_LEVEL is the name of the set.
// Only the table at the end has external linkage. So the linker cannot replace a function by the same function of
// another instruction set.
#include "network/relu.simd.h"
#include "network/softmax.simd.h"

namespace fusedstep {

extern constexpr NetworkKernels FUSEDSTEP_TABLE(network_kernels) = {{relu<float>, relu<double>},
                                                                    {relu_backward<float>, relu_backward<double>},
                                                                    {softmax_loss<float>, softmax_loss<double>}};

}  // namespace fusedstep
