// Every array enters the core through these functions: it is used in place or refused, and never copied or converted.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <string>
#include <vector>

#include "python/view.h"

namespace fusedstep::bind {

namespace py = pybind11;

/// Names an argument in an error: `AdamW.step: grads[3] ("layer2.weight")`.
struct Where {
  const std::string& call;  // "AdamW.step"
  const char* argument;     // "grads"
  std::ptrdiff_t index;
  const std::string& name;  // may be empty
  std::string text() const;
};

[[noreturn]] void refuse_type(const Where& where, const std::string& need, const std::string& got);
[[noreturn]] void refuse_value(const Where& where, const std::string& need, const std::string& got);

/// "float64 (128, 64)" for an array, the type's name for anything else.
std::string describe(py::handle object, const char* between = " ");

/// A NumPy scalar, which arithmetic on arrays without axes returns.
bool is_scalar(py::handle object);

/// An ndarray whose bytes are its numbers: not a masked array or a matrix.
bool is_plain_array(py::handle object);

bool is_native_float(const py::array& array);  // float32 or float64
bool is_aligned(const py::array& array);
std::string shape_text(const py::array& array);  // "(3, 4)"
std::string dtype_name(const py::array& array);

/// The dtype in which the kernels know the items; none for other dtypes and for foreign byte order.
std::optional<DType> dtype_of_array(const py::array& array);

/// The dtype of an array that has one of the dtypes of the kernels.
inline DType dtype_of(const py::array& a) {
  return a.itemsize() == 8 ? DType::f64 : a.itemsize() == 4 ? DType::f32 : dtype_of_array(a).value_or(DType::f16);
}
inline View view_of(const py::array& a) {
  return {const_cast<char*>(static_cast<const char*>(a.data())),
          a.itemsize(),
          int(a.ndim()),
          a.shape(),
          a.strides(),
          1,
          dtype_of(a),
          a.writeable()};
}

/// The dtype of arrays over torch's bfloat16 tensors, which has one field of 16 bits: NumPy has none of its own, and
/// ml_dtypes need not be installed.
extern PyObject* tensors_bfloat16;

/// Prefetches the memory that `look_at_array` will read.
inline void prefetch(py::handle object) {
  __builtin_prefetch(object.ptr());
  __builtin_prefetch(reinterpret_cast<const char*>(object.ptr()) + 64);
}

/// The type and dtype objects of most arrays: numpy.ndarray and these. Set when the module is created, as
/// `tensors_bfloat16` is.
struct UsualArray {
  PyTypeObject* type;
  PyObject *single, *twice;
};
extern UsualArray usual_array;
void find_usual_array();

bool look_at_unusual_array(PyObject* object, View& view);

/// Also describes arrays of the integers of narrow states.
bool look_at_stored_array(PyObject* object, View& view);

/// Describes an array of the usual type and dtypes that is aligned to its item; false for all other objects.
inline bool look_at_usual_array(PyObject* object, View& view) {
  const auto* const a = py::detail::array_proxy(object);
  if (Py_TYPE(object) != usual_array.type || !(a->flags & py::detail::npy_api::NPY_ARRAY_ALIGNED_) ||
      (a->descr != usual_array.single && a->descr != usual_array.twice))
    return false;
  const DType dtype = a->descr == usual_array.single ? DType::f32 : DType::f64;
  view = {static_cast<char*>(a->data),
          item_size(dtype),
          a->nd,
          a->dimensions,
          a->strides,
          1,
          dtype,
          (a->flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_) != 0};
  return true;
}

/// Describes an array that kernels can read in place: an ndarray (not a masked array or a matrix) of a floating-point
/// dtype in native byte order, aligned to its item. False for all other objects.
inline bool look_at_array(PyObject* object, View& view) {
  return look_at_usual_array(object, view) || look_at_unusual_array(object, view);
}

/// An ndarray (not a masked array or a matrix) of native float32 or float64, aligned to its item.
py::array require_float_array(py::handle object, const Where& where);
/// The same, or of float16 or bfloat16.
py::array require_number_array(py::handle object, const Where& where);

/// The same, and also dense and writeable, so that it can be updated in place.
py::array require_parameter(py::handle object, const Where& where);

/// An output of a layer: of x's dtype and shape, writeable, without repeated elements; x itself or memory of its own.
py::array require_output(py::handle object, const py::array& x, const char* x_name, const Where& where);

/// True if the address ranges of the two overlap.
bool overlap(const py::array& a, const py::array& b);

}  // namespace fusedstep::bind
