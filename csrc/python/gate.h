// The functions that check every array that Python code passes to the core. An array is used in place or refused. It is
// never copied or converted.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <string>
#include <vector>

#include "python/view.h"

namespace fusedstep::bind {

namespace py = pybind11;

/// Names an argument in an error: `AdamW.step: grads[3] ("layer2.weight")`. If `is_key` is true, `name` is a key of the
/// argument: `AdamW.step: param_groups[0]["lr"]`.
struct Where {
  const std::string& call;  // "AdamW.step"
  const char* argument;     // "grads"
  std::ptrdiff_t index;
  const std::string& name;  // may be empty
  bool is_key = false;
  std::string text() const;
};

[[noreturn]] void refuse_type(const Where& where, const std::string& need, const std::string& got);
[[noreturn]] void refuse_value(const Where& where, const std::string& need, const std::string& got);

/// A description for errors: "float64 (128, 64)" for an array, and the name of the type for other objects. `between` is
/// the text between the dtype and the shape.
std::string describe(py::handle object, const char* between = " ");

/// True for a NumPy scalar. Arithmetic on arrays with shape () returns such scalars.
bool is_scalar(py::handle object);

/// True for a numpy.ndarray that is not a masked array or a numpy.matrix.
bool is_plain_array(py::handle object);

bool is_native_float(const py::array& array);  // float32 or float64
bool is_aligned(const py::array& array);
std::string shape_text(const py::array& array);  // "(3, 4)"
std::string dtype_name(const py::array& array);

/// The dtype of the array. Nothing if kernels do not support the dtype, or if the byte order is not the machine's.
std::optional<DType> dtype_of_array(const py::array& array);

/// The dtype of an array. The kernels must support the dtype.
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

/// The NumPy dtype of arrays that have the memory of torch's bfloat16 tensors. It is a structured dtype with one 16-bit
/// field, because NumPy has no bfloat16 and ml_dtypes may not be installed.
extern PyObject* tensors_bfloat16;

/// Prefetches the memory that `look_at_array` will read.
inline void prefetch(py::handle object) {
  __builtin_prefetch(object.ptr());
  __builtin_prefetch(reinterpret_cast<const char*>(object.ptr()) + 64);
}

/// The type object numpy.ndarray, and NumPy's dtype objects for float32 and float64, which most arrays have.
struct UsualArray {
  PyTypeObject* type;
  PyObject *single, *twice;
};
extern UsualArray usual_array;
/// Sets `usual_array` and `tensors_bfloat16`. Called when the module is created.
void find_usual_array();

bool look_at_unusual_array(PyObject* object, View& view);

/// Like look_at_array, but also accepts uint8, int16 and int32, in which some states are stored.
bool look_at_stored_array(PyObject* object, View& view);

/// Describes an array in `view`. Returns false if the object's type and dtype are not in `usual_array`, or if the array
/// is not aligned to the size of its items.
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

/// Describes an array in `view`. Returns false if kernels cannot read the object in place. The object must be an
/// ndarray (not a masked array or a matrix) of a floating-point dtype in native byte order, aligned to the size of its
/// items.
inline bool look_at_array(PyObject* object, View& view) {
  return look_at_usual_array(object, view) || look_at_unusual_array(object, view);
}

/// Returns the object as an array. It must be an ndarray (not a masked array or a matrix) of float32 or float64 in
/// native byte order, aligned to the size of its items.
py::array require_float_array(py::handle object, const Where& where);
/// Like require_float_array, but the array may also be float16 or bfloat16.
py::array require_number_array(py::handle object, const Where& where);

/// Like require_float_array, but the array must also be dense and writeable, so that it can be updated in place.
py::array require_parameter(py::handle object, const Where& where);

/// Returns the object as an array for the output of a layer. It must have the dtype and the shape of x, be writeable
/// and have no repeated elements. It must be x itself or must not overlap x.
py::array require_output(py::handle object, const py::array& x, const char* x_name, const Where& where);

/// True if the address ranges of the two arrays overlap.
bool overlap(const py::array& a, const py::array& b);

}  // namespace fusedstep::bind
