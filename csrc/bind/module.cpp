#include "bind/batchnorm.h"
#include "bind/batchstats.h"
#include "bind/dropout.h"
#include "bind/plan.h"
#include "bind/runtime.h"
#include "bind/tensors.h"
#include "isa/dispatch.h"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  m.doc() = "The compiled core of fusedstep. Its users are the package's own modules.";
  if (fusedstep::available_isas().empty())
    throw pybind11::import_error("fusedstep needs a CPU with x86-64-v2 (SSE4.2, POPCNT) or better");
  fusedstep::bind::bind_runtime(m);
  fusedstep::bind::bind_plan(m);
  fusedstep::bind::bind_tensors(m);
  fusedstep::bind::bind_dropout(m);
  fusedstep::bind::bind_batchnorm(m);
  fusedstep::bind::bind_batchstats(m);
}
