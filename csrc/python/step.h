// What Plan.step returns, and the step in Python's own calling convention: for a small network the call counts.
#pragma once

#include "python/plan.h"

namespace fusedstep::bind {

py::object to_python(const StepInfo& info);

/// Adds StepInfo to the module.
void bind_info(py::module_& m);
/// Adds `step` to the plan's type.
void bind_step(py::handle plan_type);
/// Adds RowGradient to the module.
void bind_rows(py::module_& m);

}  // namespace fusedstep::bind
