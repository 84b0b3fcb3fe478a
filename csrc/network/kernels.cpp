// A network's layers, compiled once per instruction set; FUSEDSTEP_LEVEL names it. Only the table at the end leaves
// this file: everything else has internal linkage, so that the linker cannot merge a function with another level's.
#include "network/relu.simd.h"
#include "network/softmax.simd.h"

namespace fusedstep {

extern constexpr NetworkKernels FUSEDSTEP_TABLE(network_kernels) = {{relu<float>, relu<double>},
                                                                    {relu_backward<float>, relu_backward<double>},
                                                                    {softmax_loss<float>, softmax_loss<double>}};

}  // namespace fusedstep
