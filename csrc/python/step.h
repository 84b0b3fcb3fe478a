// The Python types StepInfo and RowGradient, and the method Plan.step. Plan.step uses Python's own calling convention,
// because the time of the call is a large part of a small network's step.
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
