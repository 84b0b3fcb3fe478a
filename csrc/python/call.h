// Checks the arguments of one call of a function. Each error names the function and the argument.
#pragma once

#include "batchnorm/kernel.h"
#include "python/gate.h"

namespace fusedstep::bind {

inline py::array no_array() { return py::reinterpret_borrow<py::array>(py::handle()); }
inline const void* data_or_null(const py::array& a) { return a.ptr() ? a.data() : nullptr; }
inline void* written_or_null(const py::array& a) { return const_cast<void*>(data_or_null(a)); }

class Call {
 public:
  explicit Call(const char* name) : name_(name) {}

  Where where(const char* argument) const { return {name_, argument, -1, no_name_}; }

  /// Advice for calls with the argument `axis`, see `c_array`.
  static constexpr const char* channels_last =
      ". If the channels are last in memory, pass x with shape (N, ..., C) and axis=-1";

  /// Returns the object as an array. It must be C-contiguous, and float32 or float64. If `halves` is true, it may also
  /// be float16 or bfloat16. If the object is not C-contiguous, the error ends with `advice`.
  py::array c_array(py::handle object, const char* argument, bool halves = false, const char* advice = "") const;

  /// Returns the object as an array. It must have the shape and the dtype of `model`. `of` is the name of `model` in
  /// errors.
  py::array like(py::handle object, const char* argument, const py::array& model, const char* of) const;

  /// Returns the object as an array with one number per channel, or null if the object is None. The array must have the
  /// dtype of `model`. If `model` is float16 or bfloat16, the array may also be float32.
  py::array per_channel(py::handle object, const char* argument, const py::array& model, py::ssize_t channels) const;

  void writeable(const py::array& a, const char* argument) const;

  /// Raises if `written` shares memory with `other`. In the error, `argument` is the name of `written`, and `name` is
  /// the name of `other`.
  void disjoint(const py::array& written, const char* argument, const py::array& other, const char* name) const;

  /// The shape of x, whose channels are along `axis`. Raises if x is empty.
  BatchNormShape shape_of(const py::array& x, py::ssize_t axis) const;

 private:
  const std::string name_, no_name_;
};

}  // namespace fusedstep::bind
