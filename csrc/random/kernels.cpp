// Random numbers. This file is compiled once per instruction set, and FUSEDSTEP_LEVEL is the name of the set. Only the
// table at the end has external linkage. So the linker cannot replace a function by the same function of another
// instruction set.
#include "random/dropout.simd.h"
#include "random/noise.simd.h"

namespace fusedstep {

extern constexpr RandomKernels FUSEDSTEP_TABLE(random_kernels) = {
    philox_block, philox_words, kept, {drop<float>, drop<double>}, {noise<float>, noise<double>}};

}  // namespace fusedstep
