// Checks the arguments of a call of a layer. The errors name them.
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

  /// C-contiguous, of float32 or float64; or of 16 bits, if `halves`.
  py::array c_array(py::handle object, const char* argument, bool halves = false) const;

  /// An array with the shape and dtype of `model`, which is the argument named `of`.
  py::array like(py::handle object, const char* argument, const py::array& model, const char* of) const;

  /// One value per channel, of the dtype of `model` or of its computing dtype; no array if the object is None.
  py::array per_channel(py::handle object, const char* argument, const py::array& model, py::ssize_t channels) const;

  void writeable(const py::array& a, const char* argument) const;

  /// Refuses a written array that shares memory with another array, which the error calls `name`.
  void disjoint(const py::array& written, const char* argument, const py::array& other, const char* name) const;

  /// The shape of x, whose channels are along `axis`. Refuses an empty x.
  BatchNormShape shape_of(const py::array& x, py::ssize_t axis) const;

 private:
  const std::string name_, no_name_;
};

}  // namespace fusedstep::bind
