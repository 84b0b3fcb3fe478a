// The interface of plans to torch, for parameters that are tensors. The user may replace the groups, the state and the
// tensors at any time. The plan's `step` then returns nothing, and Python code makes a new plan.
#pragma once

#include "python/dlpack.h"
#include "python/plan.h"
#include "python/shards.h"
#include "python/watched.h"

namespace fusedstep::bind {

/// A description for errors, for example "torch.float32 (3, 4)". It contains the device if it is not the CPU, and the
/// layout if it is not torch.strided. For an object that is not a tensor, it is the name of the type.
std::string describe_tensor(py::handle object);

/// Raises if a tensor's storage has too few bytes for the tensor.
void require_storage(py::handle tensor, const View& view, const Where& where);

class TorchSource final : public Loops<TorchSource> {
 public:
  /// `tensor_type` is torch.Tensor, and `shard_type` is DTensor or None. `increment_version` is called with the tensors
  /// that a step has written. `owner` is the optimizer's __dict__, and `members` has the groups of the plan. The plan
  /// updates `params`. `idle` has the parameters without a gradient; if one of them gets a gradient, `unchanged`
  /// returns false. If `some` is false, every parameter of the groups must be in `params` or `idle`; otherwise
  /// `unchanged` returns false.
  TorchSource(const std::string& label, const py::object& tensor_type, py::object shard_type,
              py::object increment_version, const py::dict& owner, const py::list& members, const py::list& params,
              const py::list& idle, bool some);

  bool look(PyObject* object, View& view) const override {
    return look_at_stored(object, view) && is_number(view.dtype);
  }
  bool look_at_stored(PyObject* object, View& view) const override {
    dlpack::Tensor t;
    if (describe_(object, &t) == 0) return dlpack::look_at_stored(t, view);
    PyErr_Clear();
    return false;
  }
  /// True if the object still has the memory that the snapshot describes.
  bool is_still(PyObject* object, const Snapshot& seen, Snapshot::Use use) const {
    View v;
    return look_at_stored(object, v) && seen.matches(v, use);
  }
  Look look_at_gradient(std::size_t k, PyObject* object, const Snapshot& seen, View& view) const override {
    const View& checked = described_[k];
    if (checked.ndim < 0) return Look::unusable;
    if (!asked_)
      view = checked;
    else if (!look(object, view) || view.data != checked.data)
      return Look::unusable;
    return seen.matches(view) ? Look::same : Look::other;
  }
  py::object part(py::handle object) override { return shards_.part(object); }
  py::object keep(py::handle object, const View& view, const Where& where) const override;
  [[noreturn]] void refuse(py::handle object, const Where& where) const override;
  [[noreturn]] void refuse_gradient(py::handle object, py::handle parameter, const Where& where) const override;
  std::string describe(py::handle object) const override { return describe_tensor(object); }
  bool user_may_replace() const override { return true; }
  void collect(py::handle gradients, py::handle rates, const std::string& call, Inputs& inputs) override;
  bool unchanged() const override;
  void rely_on(const py::dict& entry) override { entries_.emplace_back(entry); }
  void settle() override;
  bool follow_options() override;
  void wrote(const py::list& tensors) const override {
    shards_.add_wholes(tensors);
    increment_version_(tensors);
  }
  int traverse(visitproc visit, void* arg) const override;

 private:
  py::object of_owner(PyObject* name) const;
  void watch_options();
  bool is_negative(py::handle tensor) const;
  void check_gradient(std::size_t k, const py::object& gradient, const std::string& call);
  void take_given(const py::list& given, Inputs& inputs) const;

  dlpack::Describe describe_;
  py::object tensor_type_, is_neg_, increment_version_;
  Shards shards_;
  PyCFunction is_neg_function_ = nullptr;
  py::dict owner_, state_;
  WatchedList groups_;
  WatchedDict entries_of_state_;
  std::vector<WatchedDict> options_, entries_;  // options_: of each group; entries_: the items of the state
  std::vector<WatchedList> members_;            // the parameters of each group
  std::vector<py::object> params_, idle_;
  struct Checked {
    const void* data = nullptr;
    std::ptrdiff_t bytes = 0;
  };
  std::vector<View> described_;    // the memory of each gradient when it was checked; ndim < 0: unusable
  bool asked_ = false;             // true: Python code has run since the check, so a gradient may have changed
  std::vector<Checked> storages_;  // gradients whose storage was large enough; the index is a hash of the address
  bool idle_has_gradient_ = false, orphaned_ = false, has_others_ = false;
};

}  // namespace fusedstep::bind
