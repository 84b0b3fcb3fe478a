// The only way for an array into the core: it is used where it lies or refused; nothing is ever copied or cast.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "formats/dtype.h"
#include "python/layout.h"

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

/// A number with a dtype, as arithmetic on arrays without axes returns it.
bool is_scalar(py::handle object);

/// An ndarray that means what its bytes say: no masked array, no matrix.
bool is_plain_array(py::handle object);

bool is_native_float(const py::array& array);  // float32 or float64
bool is_aligned(const py::array& array);

bool same_shape(const py::array& a, const py::array& b);

inline View view_of(const py::array& a) {
  return {
      const_cast<char*>(static_cast<const char*>(a.data())), a.itemsize(), int(a.ndim()), a.shape(), a.strides(), 1};
}

// Looking at a few hundred arrays is waiting for memory: the next ones are asked for this far ahead.
constexpr std::size_t ahead = 8;

/// An ndarray (no masked array, no matrix) of native float32 or float64, aligned to its item.
py::array require_float_array(py::handle object, const Where& where);

/// The same, and dense and writeable: something that is updated in place.
py::array require_parameter(py::handle object, const Where& where);

/// What a layer writes: of x's dtype and shape, writeable, no element twice, and x itself or memory of its own.
py::array require_output(py::handle object, const py::array& x, const char* x_name, const Where& where);

/// True if one has elements between the first and the last of the other.
bool overlap(const py::array& a, const py::array& b);

/// True if an element of one is an element of the other.
bool shares_memory(py::handle a, py::handle b);

DType dtype_of(const py::array& array);

/// What an array looked like when it was checked. An array that still matches needs no second look; anything
/// that can be done to an array behind our back (a resize, a change of flags, dtype or strides) shows.
class Snapshot {
 public:
  Snapshot() = default;
  enum class Use { read, write };  // what is only read may become read-only or writeable
  explicit Snapshot(const py::array& array);
  bool matches(py::handle object, Use use = Use::write) const;

  /// Asks for the memory that `matches` will read.
  void prefetch(py::handle object) const {
    __builtin_prefetch(this);
    __builtin_prefetch(reinterpret_cast<const char*>(this) + 64);
    __builtin_prefetch(object.ptr());
    __builtin_prefetch(reinterpret_cast<const char*>(object.ptr()) + 64);
  }

 private:
  struct Axis {
    py::ssize_t size, stride;
  };
  static constexpr int few = 4;
  const Axis* axes() const { return count_ <= few ? few_ : many_.data(); }

  py::object type_, dtype_;  // kept alive: another may not come to lie at the same address
  const void* data_ = nullptr;
  int flags_ = 0, count_ = 0;
  Axis few_[few] = {};  // here, not on the heap: a look at hundreds of arrays is waiting for memory
  std::vector<Axis> many_;
};

}  // namespace fusedstep::bind
