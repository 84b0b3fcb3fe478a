#pragma once

#include "python/gate.h"

namespace fusedstep::bind {

void bind_products(py::module_& m);

}  // namespace fusedstep::bind
