#include "machine/level.h"
#include "python/bindings.h"

namespace {

constexpr char main_only[] = "fusedstep can only be imported by the main interpreter, not by a subinterpreter";

bool in_main_interpreter() { return PyInterpreterState_Get() == PyInterpreterState_Main(); }

}  // namespace

PYBIND11_MODULE(core, m, pybind11::mod_gil_not_used()) {
  if (!in_main_interpreter()) throw pybind11::import_error(main_only);
  m.doc() = "The compiled core of fusedstep. Only the package's own modules should use it.";
  if (fusedstep::available_isas().empty())
    throw pybind11::import_error("fusedstep needs a CPU with x86-64-v2 (SSE4.2, POPCNT) or better");
  fusedstep::bind::bind_runtime(m);
  fusedstep::bind::bind_plan(m);
  fusedstep::bind::bind_random(m);
  fusedstep::bind::bind_batchnorm(m);
  fusedstep::bind::bind_batchstats(m);
  fusedstep::bind::bind_factored(m);
  fusedstep::bind::bind_network(m);
}

/// Checks the interpreter before pybind11 runs, because up to Python 3.11 pybind11 waits forever for the GIL in a
/// subinterpreter. Later versions of Python always call this function in the main interpreter. They then run the code
/// in PYBIND11_MODULE in the interpreter that imports the module, so that code checks the interpreter again.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (in_main_interpreter()) return PyInit_core();
  PyErr_SetString(PyExc_ImportError, main_only);
  return nullptr;
}
