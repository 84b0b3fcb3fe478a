// The interface of plans to NumPy, for parameters that are NumPy arrays. Gradients may be any objects that support
// DLPack.
#include <pybind11/stl.h>

#include <deque>

#include "python/dlpack.h"
#include "python/plan.h"

namespace fusedstep::bind {
namespace {

constexpr char floats[] = "float32, float64, float16 or bfloat16";

py::object item_of_list(PyObject* list, Py_ssize_t k) {
#ifdef Py_GIL_DISABLED
  // if the list has become shorter, this returns null and sets a Python error
  return py::reinterpret_steal<py::object>(PyList_GetItemRef(list, k));
#else
  return py::reinterpret_borrow<py::object>(PyList_GET_ITEM(list, k));
#endif
}

py::object item_of_dict(PyObject* dict, PyObject* key) {
  PyObject* value = nullptr;
#ifdef Py_GIL_DISABLED
  PyDict_GetItemRef(dict, key, &value);
#else
  value = Py_XNewRef(PyDict_GetItemWithError(dict, key));
#endif
  if (!value && PyErr_Occurred()) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(value);
}

/// A hint for a user who has passed an object that is not an array. The text is empty if there is no hint.
std::string hint_for(py::handle object) {
  const std::string module = py::str(py::type::handle_of(object).attr("__module__"));
  if (module == "torch" || module.rfind("torch.", 0) == 0) return " (the optimizers of fusedstep.torch update tensors)";
  if (py::hasattr(object, "__dlpack__")) return " (numpy.from_dlpack may give an array that shares its memory)";
  return "";
}

class NumpySource final : public Loops<NumpySource> {
 public:
  explicit NumpySource(py::list keys) : keys_(std::move(keys)) {}

  bool look(PyObject* object, View& view) const override { return look_at_array(object, view); }

  bool look_at_stored(PyObject* object, View& view) const override { return look_at_stored_array(object, view); }

  /// True if the object still has the memory that the snapshot describes.
  bool is_still(PyObject* object, const Snapshot& seen, Snapshot::Use use) const {
    if (View v; look_at_usual_array(object, v)) return seen.matches(v, use);  // inlined, so that `v` stays in registers
    View v;
    return look_at_stored_array(object, v) && seen.matches(v, use);
  }

  Look look_at_gradient(std::size_t, PyObject* object, const Snapshot& seen, View& view) const override {
    if (Py_TYPE(object) == usual_array.type && is_still(object, seen, Snapshot::Use::write)) return Look::same;
    if (!look_at_any(object, view)) return Look::unusable;
    return seen.matches(view) ? Look::same : Look::other;
  }

  [[noreturn]] void refuse(py::handle object, const Where& where) const override;
  [[noreturn]] void refuse_gradient(py::handle object, py::handle parameter, const Where& where) const override;

  std::string describe(py::handle object) const override {
    for (const auto& [made, from] : made_)
      if (made.is(object))
        return PyCapsule_CheckExact(object.ptr()) ? dlpack::describe(object, from) : bind::describe(from);
    return bind::describe(object);
  }

  bool user_may_replace() const override { return false; }

  void collect(py::handle gradients, py::handle rates, const std::string& call, Inputs& inputs) override;

  int traverse(visitproc visit, void* arg) const override {
    Py_VISIT(keys_.ptr());
    for (const auto& [made, from] : made_) {
      Py_VISIT(made.ptr());
      Py_VISIT(from.ptr());
    }
    return 0;
  }

 private:
  static bool look_at_any(PyObject* object, View& view) {
    return PyCapsule_CheckExact(object) ? dlpack::look_at_capsule(object, view) : look_at_array(object, view);
  }
  void take_dict(PyObject* gradients, const std::string& call, Inputs& inputs) const;
  void convert(std::size_t k, const std::string& call, Inputs& inputs);

  py::list keys_;
  // arrays and capsules that this step has made, and the objects from which it made them
  std::vector<std::pair<py::object, py::object>> made_;
};

void NumpySource::refuse(py::handle object, const Where& where) const {
  if (!is_plain_array(object))
    refuse_type(where, std::string("a numpy.ndarray of ") + floats, bind::describe(object) + hint_for(object));
  const auto a = py::reinterpret_borrow<py::array>(object);
  View v;
  if (!is_aligned(a) && dtype_of_array(a))
    refuse_value(where, "aligned to " + std::to_string(a.itemsize()) + " bytes, the size of its items",
                 "a misaligned " + bind::describe(object));
  if (!look(object.ptr(), v)) refuse_type(where, std::string(floats) + " in native byte order", bind::describe(object));
  if (!v.writeable)
    refuse_value(where, "writeable", "a read-only " + bind::describe(object) + " (a copy of it can be updated)");
  refuse_value(where, "dense: without gaps, repeated elements or negative strides; the axes may be in any order",
               bind::describe(object) + " with strides " + std::string(py::str(a.attr("strides"))));
}

void NumpySource::refuse_gradient(py::handle object, py::handle parameter, const Where& where) const {
  View v, p;
  look(parameter.ptr(), p);
  const bool known = look_at_any(object.ptr(), v);
  if (!known && !is_plain_array(object) && !PyCapsule_CheckExact(object.ptr()))
    refuse_type(where, std::string("a numpy.ndarray of ") + floats, describe(object));
  if (!known && is_plain_array(object) && dtype_of_array(py::reinterpret_borrow<py::array>(object)))
    refuse_value(where,
                 "aligned to " + std::to_string(py::reinterpret_borrow<py::array>(object).itemsize()) +
                     " bytes, the size of its items",
                 "a misaligned " + describe(object));
  const std::string other = p.dtype == DType::f64 ? "" : p.dtype == DType::f32 ? " (or 16-bit)" : " (or float32)";
  const bool same_shapes = known && same_shape(v, p);
  const auto a = py::reinterpret_borrow<py::array>(parameter);
  const std::string need = std::string(py::str(a.dtype())) + (same_shapes ? other : "") + " of shape " + shape_text(a);
  if (PyCapsule_CheckExact(object.ptr()) && dlpack::lacks_memory(object.ptr()))
    refuse_type(where, "an array or a tensor with memory", describe(object));
  if (!known) refuse_type(where, std::string(floats) + " in native byte order", describe(object));
  refuse_value(where, need, describe(object));
}

void NumpySource::collect(py::handle gradients, py::handle rates, const std::string& call, Inputs& inputs) {
  made_.clear();
  PyObject* const g = gradients.ptr();
  const std::size_t count = inputs.gradients.size();
  const bool is_list = PyList_CheckExact(g), is_tuple = PyTuple_CheckExact(g);
  if (is_list || is_tuple) {
    if (const Py_ssize_t given = is_list ? PyList_GET_SIZE(g) : PyTuple_GET_SIZE(g); std::size_t(given) != count)
      throw py::value_error(call + ": grads must have " + std::to_string(count) + " entries, one per parameter; got " +
                            std::to_string(given));
    for (std::size_t k = 0; k < count; ++k)
      inputs.gradients[k] = is_list ? item_of_list(g, Py_ssize_t(k))
                                    : py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(g, Py_ssize_t(k)));
  } else if (PyDict_CheckExact(g)) {
    take_dict(g, call, inputs);
  } else {
    throw py::type_error(call + ": grads must be a list, a tuple or a dict of arrays, one per parameter; got " +
                         bind::describe(gradients));
  }
  for (std::size_t k = 0; k < count; ++k) {
    PyObject* const gradient = inputs.gradients[k].ptr();
    if (!gradient) throw py::error_already_set();
    if (Py_TYPE(gradient) != usual_array.type && gradient != Py_None) convert(k, call, inputs);
  }
  inputs.rates = rates.is_none() ? std::vector<double>() : rates.cast<std::vector<double>>();
}

void NumpySource::take_dict(PyObject* gradients, const std::string& call, Inputs& inputs) const {
  bool complete = std::size_t(PyDict_Size(gradients)) == inputs.gradients.size();
  for (std::size_t k = 0; complete && k < inputs.gradients.size(); ++k) {
    inputs.gradients[k] = item_of_dict(gradients, PyList_GET_ITEM(keys_.ptr(), Py_ssize_t(k)));
    complete = bool(inputs.gradients[k]);
  }
  if (complete) return;
  py::list missing, unknown;
  const auto given = py::reinterpret_borrow<py::dict>(gradients);
  for (const py::handle key : keys_)
    if (!given.contains(key)) missing.append(key);
  for (const auto& [key, value] : given)
    if (!keys_.contains(key)) unknown.append(key);
  throw py::value_error(call + ": grads must have the parameters' names as keys; missing " +
                        std::string(py::repr(missing)) + ", unknown " + std::string(py::repr(unknown)));
}

/// Converts gradient k if it is not an array. A RowGradient is moved to `inputs.rows`. A NumPy scalar is converted to
/// an array, because arithmetic on arrays with shape () returns scalars. Another object with `__dlpack__` is replaced
/// by the capsule that this method returns.
void NumpySource::convert(std::size_t k, const std::string& call, Inputs& inputs) {
  py::object& gradient = inputs.gradients[k];
  if (py::isinstance<PyRows>(gradient)) return void(inputs.rows.emplace_back(k, std::exchange(gradient, py::none())));
  static const std::string none;
  const Where where{call, "grads", std::ptrdiff_t(k), none};
  const py::object from = gradient;
  if (is_scalar(from)) {
    gradient = py::array::ensure(from);
    gradient.attr("setflags")(py::arg("write") = false);
  } else if (!py::isinstance<py::array>(from) && py::hasattr(from, "__dlpack__")) {
    gradient = dlpack::capsule_of(from, where);
  } else {
    return;  // an array; or an unusable object, for which `refuse_gradient` raises an error later
  }
  made_.emplace_back(gradient, from);
}

}  // namespace

void bind_numpy(py::module_& m) {
  find_usual_array();
  m.attr("bfloat16") = py::handle(tensors_bfloat16);
  m.def(
      "plan_of_arrays",
      [](std::string label, const std::string& rule, py::list keys, const py::list& params,
         std::vector<std::string> names, const std::vector<int>& group_of, std::size_t groups,
         std::optional<double> ema_decay, bool master_weights, std::uint64_t seed) {
        return std::make_unique<PyPlan>(std::move(label), rule, std::make_unique<NumpySource>(std::move(keys)), params,
                                        std::move(names), group_of, groups, Choices{ema_decay, master_weights, seed});
      },
      py::arg("label"), py::arg("rule"), py::arg("keys"), py::arg("params"), py::arg("names"), py::arg("group_of"),
      py::arg("groups"), py::arg("ema_decay"), py::arg("master_weights") = false, py::arg("seed") = 0);
  m.def(
      "check_parameters",
      [](const std::string& label, const py::list& params, const std::vector<std::string>& names) {
        const NumpySource source{py::list()};
        for (std::size_t k = 0; k < params.size(); ++k) {
          View v;
          if (!source.look(params[k].ptr(), v) || !v.writeable || !is_dense(v, memory_order(v)))
            source.refuse(params[k], {label, "params", std::ptrdiff_t(k), names.at(k)});
        }
      },
      py::arg("label"), py::arg("params"), py::arg("names"), "Raise an error if an array cannot be updated in place.");
}

}  // namespace fusedstep::bind
