// The functions that module.cpp calls. Each function adds the functions and types of one file to the module.
#pragma once

#include <pybind11/pybind11.h>

namespace fusedstep::bind {

void bind_batchnorm(pybind11::module_& m);
void bind_batchstats(pybind11::module_& m);
void bind_factored(pybind11::module_& m);
void bind_network(pybind11::module_& m);
void bind_plan(pybind11::module_& m);
void bind_random(pybind11::module_& m);
void bind_runtime(pybind11::module_& m);

}  // namespace fusedstep::bind
