// StepInfo, and Plan.step in Python's own calling convention, because the cost of the call matters for small networks.
#pragma once

#include "python/plan.h"

namespace fusedstep::bind {

py::object to_python(const StepInfo& info);

/// Adds the type StepInfo to the module.
void bind_info(py::module_& m);
/// Adds the method `step` to the type Plan.
void bind_step(py::handle plan_type);
/// Adds the type RowGradient to the module.
void bind_rows(py::module_& m);

}  // namespace fusedstep::bind
