// Random numbers, compiled once per instruction set, which FUSEDSTEP_LEVEL names. Only the table at the end has
// external linkage, so that the linker cannot merge a function with that of another level.
#include "random/dropout.simd.h"
#include "random/noise.simd.h"

namespace fusedstep {

extern constexpr RandomKernels FUSEDSTEP_TABLE(random_kernels) = {
    philox_block, philox_words, kept, {drop<float>, drop<double>}, {noise<float>, noise<double>}};

}  // namespace fusedstep
