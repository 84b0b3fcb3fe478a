#include "python/step.h"

#include <cmath>

namespace fusedstep::bind {
namespace {

/// A StepInfo for Python. Plain fields: a tuple with names costs more to make than a small network's checks.
struct InfoObject {
  PyObject_HEAD StepInfo info;
};

PyTypeObject* info_type = nullptr;

const StepInfo& info_of(PyObject* self) { return reinterpret_cast<InfoObject*>(self)->info; }

PyObject* step_of(PyObject* self, void*) { return PyLong_FromLongLong(info_of(self).step); }
PyObject* grad_norm_of(PyObject* self, void*) {
  const auto& norm = info_of(self).grad_norm;
  return norm ? PyFloat_FromDouble(*norm) : Py_NewRef(Py_None);
}
PyObject* clip_coef_of(PyObject* self, void*) { return PyFloat_FromDouble(info_of(self).clip_coef); }
PyObject* skipped_of(PyObject* self, void*) { return PyBool_FromLong(info_of(self).skipped); }

PyObject* repr(PyObject* self) {
  PyObject* const norm = grad_norm_of(self, nullptr);
  PyObject* const coef = clip_coef_of(self, nullptr);
  PyObject* const text = norm && coef
                             ? PyUnicode_FromFormat("StepInfo(step=%lld, grad_norm=%R, clip_coef=%R, skipped=%s)",
                                                    static_cast<long long>(info_of(self).step), norm, coef,
                                                    info_of(self).skipped ? "True" : "False")
                             : nullptr;
  Py_XDECREF(norm);
  Py_XDECREF(coef);
  return text;
}

void free_info(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_Free(self);
  Py_DECREF(type);
}

PyTypeObject* make_info_type() {
  static PyGetSetDef fields[] = {
      {"step", step_of, nullptr, "Steps taken so far, this one included.", nullptr},
      {"grad_norm", grad_norm_of, nullptr,
       "Norm of the unscaled gradients; None unless it was given, or clip_norm or skip_nonfinite asked for it.",
       nullptr},
      {"clip_coef", clip_coef_of, nullptr, "What clip_norm multiplied the gradients by; 1.0 without it.", nullptr},
      {"skipped", skipped_of, nullptr, "True if non-finite gradients left everything untouched.", nullptr},
      {}};
  static char doc[] = "What a step did.";
  PyType_Slot slots[] = {{Py_tp_doc, doc},
                         {Py_tp_getset, fields},
                         {Py_tp_repr, reinterpret_cast<void*>(repr)},
                         {Py_tp_dealloc, reinterpret_cast<void*>(free_info)},
                         {0, nullptr}};
  PyType_Spec spec{"fusedstep.optim.StepInfo", int(sizeof(InfoObject)), 0,
                   Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  PyObject* const type = PyType_FromSpec(&spec);
  if (!type) throw py::error_already_set();
  return reinterpret_cast<PyTypeObject*>(type);
}

}  // namespace

py::object to_python(const StepInfo& info) {
  auto* const object = PyObject_New(InfoObject, info_type);
  if (!object) throw py::error_already_set();
  new (&object->info) StepInfo(info);
  return py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(object));
}

namespace {

double number(PyObject* object) {
  const double value = PyFloat_AsDouble(object);
  if (value == -1.0 && PyErr_Occurred()) throw py::error_already_set();
  return value;
}

/// A number of at least 0, or -1 for None.
double bound(const PyPlan& plan, const char* name, PyObject* object) {
  if (object == Py_None) return -1;
  const double value = number(object);
  if (!(value >= 0)) refuse_value({plan.step_label(), name, -1, {}}, "at least 0", py::repr(object));
  return value;
}

bool flag(const PyPlan& plan, const char* name, PyObject* object) {
  if (object != Py_True && object != Py_False)
    refuse_type({plan.step_label(), name, -1, {}}, "True or False", py::repr(object));
  return object == Py_True;
}

StepOptions options_of(const PyPlan& plan, PyObject* const* args) {
  StepOptions options;
  options.decay_scale = number(args[2]);
  options.clip_norm = bound(plan, "clip_norm", args[3]);
  options.clip_value = bound(plan, "clip_value", args[4]);
  options.grad_scale = number(args[5]);
  if (!(options.grad_scale > 0 && std::isfinite(options.grad_scale)))
    refuse_value({plan.step_label(), "grad_scale", -1, {}}, "finite and above 0", py::repr(args[5]));
  if (!(options.decay_scale >= 0 && std::isfinite(options.decay_scale)))
    refuse_value({plan.step_label(), "decay_scale", -1, {}}, "finite and at least 0", py::repr(args[2]));
  if (args[6] != Py_None) {
    options.grad_norm = number(args[6]);
    if (*options.grad_norm < 0) refuse_value({plan.step_label(), "grad_norm", -1, {}}, "at least 0", py::repr(args[6]));
  }
  options.skip_nonfinite = flag(plan, "skip_nonfinite", args[7]);
  options.zero_gradients = flag(plan, "zero_grads", args[8]);
  return options;
}

/// Plan.step in Python's own calling convention: pybind11's dispatch costs as much as a third of a small network's
/// step.
PyObject* step(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  try {
    auto* const plan = reinterpret_cast<py::detail::instance*>(self)->get_value_and_holder().value_ptr<PyPlan>();
    if (!plan || count != 10) throw py::type_error("Plan.step: must be called on a plan with 10 arguments");
    const int threads = args[9] == Py_None ? 0 : int(PyLong_AsLong(args[9]));
    const auto info = plan->step(args[0], args[1], options_of(*plan, args), threads);
    return info ? to_python(*info).release().ptr() : Py_NewRef(Py_None);
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
  info_type = make_info_type();
  m.add_object("StepInfo", reinterpret_cast<PyObject*>(info_type));
  static PyMethodDef method{"step", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(step)), METH_FASTCALL,
                            "step($self, grads, rates, decay_scale, clip_norm, clip_value, grad_scale, grad_norm, "
                            "skip_nonfinite, zero_grads, num_threads, /)\n--\n\n"};
  auto* const type = reinterpret_cast<PyTypeObject*>(plan_type.ptr());
  plan_type.attr("step") = py::reinterpret_steal<py::object>(PyDescr_NewMethod(type, &method));
}

}  // namespace fusedstep::bind
