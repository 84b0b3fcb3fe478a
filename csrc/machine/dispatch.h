// Which instruction set's kernels run.
#pragma once

#include <string>
#include <vector>

#include "step/kernel.h"

namespace fusedstep {

/// The kernels in use: the best level that the CPU has, unless another was chosen.
const KernelTable& kernels();

/// The levels that are compiled in and that this CPU has, best first.
std::vector<std::string> available_isas();

enum class Choice { done, unknown, lacking };

/// Chooses a level by name; plans take their kernels at each step, so the change holds at once.
Choice set_isa(const std::string& name);

std::vector<std::string> compiled_isas();

}  // namespace fusedstep
