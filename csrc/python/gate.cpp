#include "python/gate.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <optional>

namespace fusedstep::bind {
namespace {

constexpr int npy_ubyte = 2, npy_short = 3, npy_int = 5, npy_float = 11, npy_double = 12,
              npy_half = 23;  // NPY_HALF and so on: part of NumPy's ABI

std::string message(const Where& where, const std::string& need, const std::string& got) {
  return where.text() + " must be " + need + "; got " + got;
}

bool is_instance_of(py::handle object, const char* module, const char* type) {
  // If the module was never imported, no object can be an instance of its type.
  const py::dict modules = py::module_::import("sys").attr("modules");
  return modules.contains(module) && py::isinstance(object, modules[module].attr(type));
}

constexpr int aligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
constexpr int writeable = py::detail::npy_api::NPY_ARRAY_WRITEABLE_;

}  // namespace

PyObject* tensors_bfloat16 = nullptr;

std::string shape_text(const py::array& a) {
  std::string s = "(";
  for (py::ssize_t d = 0; d < a.ndim(); ++d) s += (d ? ", " : "") + std::to_string(a.shape(d));
  return s + (a.ndim() == 1 ? ",)" : ")");
}

std::string dtype_name(const py::array& a) {
  return a.dtype().ptr() == tensors_bfloat16 ? "bfloat16" : std::string(py::str(a.dtype()));
}

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
  if (name.empty()) return s;
  return is_key ? s + "[\"" + name + "\"]" : s + " (\"" + name + "\")";
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
  return dtype_name(a) + between + shape_text(a);
}

namespace {

/// known(array) must return true if the array's dtype is one of the `dtypes`.
template <class Known>
py::array require_array(py::handle object, const Where& where, const std::string& dtypes, const Known& known) {
  if (!is_plain_array(object)) refuse_type(where, "a numpy.ndarray of " + dtypes, describe(object));
  auto a = py::reinterpret_borrow<py::array>(object);
  if (!known(a)) refuse_type(where, dtypes + " in native byte order", describe(object));
  if (!is_aligned(a))
    refuse_value(where, "aligned to " + std::to_string(a.itemsize()) + " bytes, the size of its items",
                 "a misaligned " + describe(object));
  return a;
}

}  // namespace

py::array require_float_array(py::handle object, const Where& where) {
  return require_array(object, where, "float32 or float64", is_native_float);
}

py::array require_number_array(py::handle object, const Where& where) {
  return require_array(object, where, "float32, float64, float16 or bfloat16",
                       [](const py::array& a) { return dtype_of_array(a).has_value(); });
}

py::array require_parameter(py::handle object, const Where& where) {
  auto a = require_float_array(object, where);
  if (!a.writeable()) refuse_value(where, "writeable", "a read-only " + describe(object));
  if (!is_dense(view_of(a), memory_order(view_of(a))))
    refuse_value(where, "dense: without gaps, repeated elements or negative strides; the axes may be in any order",
                 describe(object) + " with strides " + std::string(py::str(a.attr("strides"))));
  return a;
}

py::array require_output(py::handle object, const py::array& x, const char* x_name, const Where& where) {
  auto a = require_number_array(object, where);
  const bool like_x =
      a.dtype().is(x.dtype()) && a.ndim() == x.ndim() && std::equal(a.shape(), a.shape() + a.ndim(), x.shape());
  if (!like_x) refuse_value(where, describe(x, " of shape ") + ", like " + x_name, describe(object));
  if (!a.writeable()) refuse_value(where, "writeable", "a read-only " + describe(object));
  if (!is_disjoint(view_of(a)))
    refuse_value(where, "without repeated elements",
                 describe(object) + " with strides " + std::string(py::str(a.attr("strides"))));
  const bool is_x = a.data() == x.data() && std::equal(a.strides(), a.strides() + a.ndim(), x.strides());
  if (!is_x && share_memory(view_of(a), view_of(x)))
    refuse_value(where, std::string(x_name) + " itself or memory of its own",
                 "an array that overlaps " + std::string(x_name));
  return a;
}

bool overlap(const py::array& a, const py::array& b) {
  const Extent x = extent(view_of(a)), y = extent(view_of(b));
  return x.low < y.high && y.low < x.high;
}

namespace {

/// The dtype for a NumPy dtype object that is not one of NumPy's built-in objects. Nothing if kernels cannot read it.
std::optional<DType> dtype_of_unusual(const py::dtype& dtype) {
  if (dtype.byteorder() != '=' && dtype.byteorder() != '|') return {};
  switch (dtype.num()) {
    case npy_float:
      return DType::f32;
    case npy_double:
      return DType::f64;
    case npy_half:
      return DType::f16;
    case npy_ubyte:
      return DType::u8;
    case npy_short:
      return DType::i16;
    case npy_int:
      return DType::i32;
    default:
      break;
  }
  // if ml_dtypes was never imported, no array has its dtypes
  const py::dict modules = py::module_::import("sys").attr("modules");
  const bool is_bfloat16 = dtype.itemsize() == 2 && modules.contains("ml_dtypes") &&
                           dtype.attr("type").is(modules["ml_dtypes"].attr("bfloat16"));
  return is_bfloat16 ? std::optional(DType::bf16) : std::nullopt;
}

std::optional<DType> dtype_of_descr(PyObject* descr) {
  static PyObject* const half = py::dtype("e").release().ptr();
  static std::atomic<PyObject*> brain{nullptr};  // the dtype object of ml_dtypes, kept after its first use
  if (descr == half) return DType::f16;
  if (descr == brain || descr == tensors_bfloat16) return DType::bf16;
  const std::optional<DType> dtype = dtype_of_unusual(py::reinterpret_borrow<py::dtype>(descr));
  if (PyObject* none = nullptr; dtype == DType::bf16 && brain.compare_exchange_strong(none, descr)) Py_INCREF(descr);
  return dtype;
}

}  // namespace

UsualArray usual_array{};

void find_usual_array() {
  usual_array = {py::detail::npy_api::get().PyArray_Type_, py::dtype::of<float>().release().ptr(),
                 py::dtype::of<double>().release().ptr()};
  py::list fields;
  fields.append(py::make_tuple("bfloat16", "u2"));
  tensors_bfloat16 = py::dtype::from_args(fields).release().ptr();
}

std::optional<DType> dtype_of_array(const py::array& array) {
  const std::optional<DType> dtype = dtype_of_descr(array.dtype().ptr());
  return dtype && is_number(*dtype) ? dtype : std::nullopt;
}

bool look_at_unusual_array(PyObject* object, View& view) {
  return look_at_stored_array(object, view) && is_number(view.dtype);
}

bool look_at_stored_array(PyObject* object, View& view) {
  if (!is_plain_array(object)) return false;
  const auto* const a = py::detail::array_proxy(object);
  const std::optional<DType> dtype = dtype_of_descr(a->descr);
  if (!dtype || !(a->flags & aligned)) return false;
  view = {static_cast<char*>(a->data), item_size(*dtype), a->nd, a->dimensions, a->strides, 1, *dtype,
          (a->flags & writeable) != 0};
  return true;
}

}  // namespace fusedstep::bind
