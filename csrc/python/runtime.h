#pragma once

#include "python/gate.h"

namespace fusedstep::bind {

void bind_runtime(py::module_& m);

}  // namespace fusedstep::bind
