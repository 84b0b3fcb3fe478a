#pragma once

#include "python/gate.h"

namespace fusedstep::bind {

void bind_batchnorm(py::module_& m);

}  // namespace fusedstep::bind
