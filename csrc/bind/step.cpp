#include "bind/step.h"

namespace fusedstep::bind {
namespace {

PyTypeObject* step_info_type = nullptr;

PyTypeObject* make_step_info_type() {
  static PyStructSequence_Field fields[] = {
      {"step", "Steps taken so far, this one included."},
      {"grad_norm", "Norm of the unscaled gradients; None unless clip_norm or skip_nonfinite asked for it."},
      {"clip_coef", "What clip_norm multiplied the gradients by; 1.0 without it."},
      {"skipped", "True if non-finite gradients left everything untouched."},
      {nullptr, nullptr}};
  static PyStructSequence_Desc description{"fusedstep.optim.StepInfo", "What a step did.", fields, 4};
  PyTypeObject* const type = PyStructSequence_NewType(&description);
  if (!type) throw py::error_already_set();
  return type;
}

}  // namespace

py::object to_python(const StepInfo& info) {
  auto result = py::reinterpret_steal<py::object>(PyStructSequence_New(step_info_type));
  if (!result) throw py::error_already_set();
  const auto set = [&](Py_ssize_t k, py::object value) {
    PyStructSequence_SetItem(result.ptr(), k, value.release().ptr());
  };
  set(0, py::int_(info.step));
  set(1, info.grad_norm ? py::object(py::float_(*info.grad_norm)) : py::none());
  set(2, py::float_(info.clip_coef));
  set(3, py::bool_(info.skipped));
  return result;
}

namespace {

double number(PyObject* object) {
  const double value = PyFloat_AsDouble(object);
  if (value == -1.0 && PyErr_Occurred()) throw py::error_already_set();
  return value;
}

/// Plan.step in Python's own calling convention: pybind11's dispatch costs as much as a third of a small network's
/// step.
PyObject* step(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  try {
    auto* const plan = reinterpret_cast<py::detail::instance*>(self)->get_value_and_holder().value_ptr<PyPlan>();
    if (!plan || count != 8) throw py::type_error("Plan.step: must be called on a plan with 8 arguments");
    return to_python(plan->step(args[0], args[1], number(args[2]), number(args[3]), number(args[4]), number(args[5]),
                                args[6] == Py_True, args[7] == Py_True))
        .release()
        .ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

}  // namespace

void bind_step(py::module_& m, py::handle plan_type) {
  step_info_type = make_step_info_type();
  m.add_object("StepInfo", reinterpret_cast<PyObject*>(step_info_type));
  static PyMethodDef method{"step", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(step)), METH_FASTCALL,
                            "step($self, grads, rates, decay_scale, clip_norm, clip_value, grad_scale, "
                            "skip_nonfinite, zero_grads, /)\n--\n\n"};
  auto* const type = reinterpret_cast<PyTypeObject*>(plan_type.ptr());
  plan_type.attr("step") = py::reinterpret_steal<py::object>(PyDescr_NewMethod(type, &method));
}

}  // namespace fusedstep::bind
