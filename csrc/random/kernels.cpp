// Random numbers. This file is compiled once per instruction set; FUSEDSTEP_LEVEL is the name of the set. Only the
// table at the end has external linkage, so that the linker cannot merge a function with that of another set.
#include "random/dropout.simd.h"
#include "random/noise.simd.h"

namespace fusedstep {

extern constexpr RandomKernels FUSEDSTEP_TABLE(random_kernels) = {
    philox_block, philox_words, kept, {drop<float>, drop<double>}, {noise<float>, noise<double>}};

}  // namespace fusedstep
