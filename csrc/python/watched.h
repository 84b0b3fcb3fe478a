// What a plan relies on but does not own: the user's dicts and tensors, compared with what was seen before each use.
// All of them keep alive what they saw, and tell the garbage collector so: a tensor's hooks may lead back to the plan.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "python/dlpack.h"
#include "python/gate.h"

namespace fusedstep::bind {

/// A dict and what it held, by identity of keys and values.
class WatchedDict {
 public:
  WatchedDict() = default;
  /// The value of `free_key` may change.
  explicit WatchedDict(const py::dict& dict, const char* free_key = nullptr);

  bool unchanged() const;
  bool is(py::handle dict) const { return dict_.is(dict); }
  /// What the free key holds now; null without one. Valid after `unchanged`.
  PyObject* free_value() const { return free_value_; }
  int traverse(visitproc visit, void* arg) const;

 private:
  py::object dict_;
  std::vector<std::pair<py::object, py::object>> items_;  // kept alive: another may not come to lie at the same address
  std::size_t free_ = std::size_t(-1);
  mutable PyObject* free_value_ = nullptr;
};

/// A list and its members, by identity.
class WatchedList {
 public:
  WatchedList() = default;
  explicit WatchedList(const py::list& list);
  bool unchanged() const;
  bool is(py::handle list) const { return list_.is(list); }
  int traverse(visitproc visit, void* arg) const;

 private:
  py::object list_;
  std::vector<py::object> members_;
};

/// A tensor, where it lay and how.
class WatchedTensor {
 public:
  WatchedTensor() = default;
  WatchedTensor(py::handle tensor, dlpack::Describe describe, const dlpack::Tensor& seen);

  /// True for one that was never given.
  bool unchanged() const;
  bool same_shape(const View& other) const;
  bool same_strides(const dlpack::Tensor& other) const;
  explicit operator bool() const { return describe_ != nullptr; }
  py::handle tensor() const { return tensor_; }
  void* data() const { return data_; }
  DType dtype() const { return dtype_; }
  View view() const;

 private:
  py::object tensor_;
  dlpack::Describe describe_ = nullptr;
  void* data_ = nullptr;
  DType dtype_ = DType::f32;
  std::vector<std::int64_t> shape_, strides_;
};

/// How tensors of a type are looked at; an error if the type does not offer it.
dlpack::Describe require_describe(const py::object& tensor_type, const std::string& label);

/// "torch.float32 (3, 4)", and the device and layout where they are unusual; the type's name for what is no tensor.
std::string describe_tensor(py::handle object);

/// What kernels compute with; none for other types.
std::optional<DType> dtype_of(const dlpack::Tensor& t);

View view_of(const dlpack::Tensor& t);

/// A tensor in the CPU's memory whose numbers are as they lie there, of a dtype that kernels compute with.
dlpack::Tensor require_tensor(py::handle object, dlpack::Describe describe, const Where& where);

}  // namespace fusedstep::bind
