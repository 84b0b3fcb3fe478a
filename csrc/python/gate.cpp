#include "python/gate.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace fusedstep::bind {
namespace {

constexpr int npy_float = 11, npy_double = 12;  // NPY_FLOAT, NPY_DOUBLE: part of NumPy's ABI

std::string shape_text(const py::array& a) {
  std::string s = "(";
  for (py::ssize_t d = 0; d < a.ndim(); ++d) s += (d ? ", " : "") + std::to_string(a.shape(d));
  return s + (a.ndim() == 1 ? ",)" : ")");
}

std::string message(const Where& where, const std::string& need, const std::string& got) {
  return where.text() + " must be " + need + "; got " + got;
}

bool is_instance_of(py::handle object, const char* module, const char* type) {
  // What was never imported has no instances.
  const py::dict modules = py::module_::import("sys").attr("modules");
  return modules.contains(module) && py::isinstance(object, modules[module].attr(type));
}

constexpr int aligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
constexpr int writeable = py::detail::npy_api::NPY_ARRAY_WRITEABLE_;

}  // namespace

bool is_scalar(py::handle object) { return is_instance_of(object, "numpy", "generic"); }

bool is_plain_array(py::handle object) {
  if (!py::isinstance<py::array>(object)) return false;
  if (Py_TYPE(object.ptr()) == py::detail::npy_api::get().PyArray_Type_) return true;
  return !is_instance_of(object, "numpy.ma", "MaskedArray") && !is_instance_of(object, "numpy", "matrix");
}

bool is_native_float(const py::array& a) {
  const py::dtype dtype = a.dtype();
  return (dtype.num() == npy_float || dtype.num() == npy_double) && dtype.byteorder() == '=';
}

bool is_aligned(const py::array& a) { return a.flags() & aligned; }

std::string Where::text() const {
  std::string s = call + ": " + argument;
  if (index >= 0) s += "[" + std::to_string(index) + "]";
  return name.empty() ? s : s + " (\"" + name + "\")";
}

void refuse_type(const Where& where, const std::string& need, const std::string& got) {
  throw py::type_error(message(where, need, got));
}

void refuse_value(const Where& where, const std::string& need, const std::string& got) {
  throw py::value_error(message(where, need, got));
}

std::string describe(py::handle object, const char* between) {
  const std::string scalar = is_scalar(object) ? "NumPy scalar " : "";
  if (!is_plain_array(object)) return scalar + std::string(py::str(py::type::handle_of(object).attr("__name__")));
  const auto a = py::reinterpret_borrow<py::array>(object);
  return std::string(py::str(a.dtype())) + between + shape_text(a);
}

bool same_shape(const py::array& a, const py::array& b) {
  return std::equal(a.shape(), a.shape() + a.ndim(), b.shape(), b.shape() + b.ndim());
}

py::array require_float_array(py::handle object, const Where& where) {
  if (!is_plain_array(object)) refuse_type(where, "a numpy.ndarray of float32 or float64", describe(object));
  auto a = py::reinterpret_borrow<py::array>(object);
  if (!is_native_float(a)) refuse_type(where, "float32 or float64 in native byte order", describe(object));
  if (!is_aligned(a))
    refuse_value(where, "aligned to its item of " + std::to_string(a.itemsize()) + " bytes",
                 "a misaligned " + describe(object));
  return a;
}

py::array require_parameter(py::handle object, const Where& where) {
  auto a = require_float_array(object, where);
  if (!a.writeable()) refuse_value(where, "writeable", "a read-only " + describe(object));
  if (!is_dense(view_of(a), memory_order(view_of(a))))
    refuse_value(where, "dense: C or Fortran order or another order of the axes, without gaps or repeated elements",
                 describe(object) + " with strides " + std::string(py::str(a.attr("strides"))));
  return a;
}

py::array require_output(py::handle object, const py::array& x, const char* x_name, const Where& where) {
  auto a = require_float_array(object, where);
  const bool like_x =
      a.dtype().is(x.dtype()) && a.ndim() == x.ndim() && std::equal(a.shape(), a.shape() + a.ndim(), x.shape());
  if (!like_x) refuse_value(where, describe(x, " of shape ") + ", like " + x_name, describe(object));
  if (!a.writeable()) refuse_value(where, "writeable", "a read-only " + describe(object));
  if (!is_disjoint(view_of(a)))
    refuse_value(where, "without repeated elements",
                 describe(object) + " with strides " + std::string(py::str(a.attr("strides"))));
  const bool is_x = a.data() == x.data() && std::equal(a.strides(), a.strides() + a.ndim(), x.strides());
  if (!is_x && overlap(a, x) && shares_memory(a, x))
    refuse_value(where, std::string(x_name) + " itself or memory of its own",
                 "an array that overlaps " + std::string(x_name));
  return a;
}

bool overlap(const py::array& a, const py::array& b) {
  const Extent x = extent(view_of(a)), y = extent(view_of(b));
  return x.low < y.high && y.low < x.high;
}

bool shares_memory(py::handle a, py::handle b) {
  return py::module_::import("numpy").attr("shares_memory")(a, b).cast<bool>();
}

DType dtype_of(const py::array& a) { return a.itemsize() == 4 ? DType::f32 : DType::f64; }

Snapshot::Snapshot(const py::array& a)
    : type_(py::type::of(a)), dtype_(a.dtype()), data_(a.data()), flags_(a.flags()), count_(int(a.ndim())) {
  if (count_ > few) many_.resize(std::size_t(count_));
  Axis* const axes = count_ > few ? many_.data() : few_;
  for (int d = 0; d < count_; ++d) axes[d] = {a.shape(d), a.strides(d)};
}

bool Snapshot::matches(py::handle object, Use use) const {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())) != type_.ptr()) return false;
  const auto* a = py::detail::array_proxy(object.ptr());
  const int checked = use == Use::write ? aligned | writeable : aligned;
  if (a->data != data_ || a->descr != dtype_.ptr() || ((a->flags ^ flags_) & checked) != 0 || a->nd != count_)
    return false;
  const Axis* const seen = axes();
  for (int d = 0; d < count_; ++d)
    if (a->dimensions[d] != seen[d].size || a->strides[d] != seen[d].stride) return false;
  return true;
}

}  // namespace fusedstep::bind
