#pragma once

#include "bind/gate.h"

namespace fusedstep::bind {

void bind_products(py::module_& m);

}  // namespace fusedstep::bind
