#include "python/step.h"

namespace fusedstep::bind {
namespace {

/// The Python type StepInfo. It is not a named tuple, because creating a named tuple takes longer than checking the
/// arrays of a small network.
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
      {"step", step_of, nullptr, "Number of steps taken so far. A skipped step is not counted.", nullptr},
      {"grad_norm", grad_norm_of, nullptr,
       "Norm of the gradients after division by grad_scale. It is None if the step had none of the "
       "arguments grad_norm, clip_norm and skip_nonfinite.",
       nullptr},
      {"clip_coef", clip_coef_of, nullptr,
       "Factor by which the step multiplied the gradients to clip their norm. It is 1.0 without clip_norm.", nullptr},
      {"skipped", skipped_of, nullptr, "True if the step was skipped because a gradient was inf or nan.", nullptr},
      {}};
  static char doc[] = "The result of a step.";
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

void bind_info(py::module_& m) {
  info_type = make_info_type();
  m.add_object("StepInfo", reinterpret_cast<PyObject*>(info_type));
}

}  // namespace fusedstep::bind
