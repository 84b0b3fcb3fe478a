// fusedstep._core.TensorPlan: a driver's plan over the tensors of a torch optimizer. Its groups, its state and the
// tensors in them are the user's to change; the plan looks at them before each step and declines where anything that
// it relies on is not as it was, for Python to make a new one.
#pragma once

#include <atomic>
#include <optional>

#include "python/watched.h"
#include "step/plan.h"

namespace fusedstep::bind {

class TensorPlan {
 public:
  enum Outcome { done, stale, needs_state };

  /// `groups` and `state` are the optimizer's. `params` bring the gradients and `targets` are what is written: the same
  /// tensors, or stand-ins for some. `idle` are parameters without a gradient; the plan is stale once one has one.
  /// torch's own `tensor_type` describes them, and its `increment_version` is told what a step has written.
  TensorPlan(std::string label, const std::string& rule, const py::object& tensor_type, py::object increment_version,
             py::list groups, py::dict state, const py::list& params, const py::list& targets, const py::list& idle,
             std::vector<std::string> names, const std::vector<int>& group_of, double ema_decay);

  void set_group(std::size_t k, unsigned variant, const std::vector<double>& hyper, double weight_decay, double l1,
                 const std::string& decay, bool maximize);

  /// The state of parameter k, without which it is not stepped: tensors in the rule's order (or None), the tensor that
  /// counts its steps (or None: `steps` were taken) and its average (or None).
  void attach(std::size_t k, const py::list& states, const py::object& count, std::int64_t steps,
              const py::object& average);

  /// Takes the groups and the state as they are now for what must not change.
  void watch();

  /// Takes the groups' options as they are now for what must not change; false, and nothing, if more than they changed.
  bool watch_options();

  /// One step with the gradients that the parameters have now; nothing happens unless it is `done`.
  Outcome step(std::optional<double> clip_norm, double grad_scale, bool zero_gradients, int threads);

  StepInfo info() const { return info_; }

  /// For the garbage collector.
  int traverse(visitproc visit, void* arg) const;

 private:
  struct Parameter {
    py::object source;  // has the gradient
    WatchedTensor target, average, count;
    std::vector<WatchedTensor> states;
    std::vector<int> order;          // of the target's axes in memory
    bool ready = false;              // its state is attached
    const void* gradient = nullptr;  // checked to share no memory with what is written
  };
  struct Owned {
    Extent extent;
    std::string what;
  };

  WatchedTensor adopt(py::handle object, const Where& where);
  WatchedTensor adopt_companion(std::size_t k, py::handle object, const char* what, DType dtype);
  WatchedTensor adopt_count(std::size_t k, py::handle object);
  void require_idle() const;
  bool unchanged() const;
  bool unchanged_but_options() const;
  bool tensors_unchanged(const Parameter& p) const;
  void take_rates();
  bool take_gradients();
  void take_gradient(std::size_t k, py::handle gradient);
  void check_against_owned(std::size_t k, const View& gradient) const;
  void check_zeroable() const;
  void take_counts();
  void write_counts();
  void tell_autograd(bool gradients_too) const;
  Where where(const char* argument, std::size_t k) const { return {label_, argument, std::ptrdiff_t(k), names_[k]}; }
  Where gradient_at(std::size_t k) const { return {step_label_, "grads", std::ptrdiff_t(k), names_[k]}; }

  std::string label_, step_label_;
  std::vector<std::string> names_;
  dlpack::Describe describe_;
  py::object increment_version_;
  py::list groups_;
  py::dict state_;
  WatchedList watched_groups_;
  WatchedDict watched_state_;
  std::vector<WatchedDict> group_dicts_, entries_;  // entries of the state
  std::vector<WatchedList> members_;                // of each group
  std::vector<Parameter> params_;
  std::vector<py::object> idle_;
  std::vector<py::object> gradients_;  // during a step
  std::vector<Owned> owned_;           // all that a step writes, by address
  std::optional<Plan> plan_;
  StepInfo info_;
  std::atomic<bool> busy_{false};
};

void bind_tensors(py::module_& m);

}  // namespace fusedstep::bind
