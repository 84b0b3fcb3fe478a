// Random numbers, compiled once per instruction set; FUSEDSTEP_LEVEL names it. Only the table at the end leaves this
// file: everything else has internal linkage, so that the linker cannot merge a function with another level's.
#include "random/dropout.simd.h"
#include "random/noise.simd.h"

namespace fusedstep {

extern constexpr RandomKernels FUSEDSTEP_TABLE(random_kernels) = {
    philox_block, philox_words, kept, {drop<float>, drop<double>}, {noise<float>, noise<double>}};

}  // namespace fusedstep
