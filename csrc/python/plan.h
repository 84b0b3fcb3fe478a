// fusedstep._core.Plan: a driver's plan and the arrays that it works on.
#pragma once

#include <atomic>
#include <optional>

#include "python/gate.h"
#include "step/plan.h"

namespace fusedstep::bind {

int rule_index(const std::string& name);

Group group_of_rule(int rule, unsigned variant, const std::vector<double>& hyper, double lr, double weight_decay,
                    double l1, const std::string& decay, bool maximize);

/// Clears a flag, or a list, however the scope is left.
template <class F>
struct AtExit {
  F action;
  ~AtExit() { action(); }
};
template <class F>
AtExit(F) -> AtExit<F>;

class PyPlan {
 public:
  PyPlan(std::string label, const std::string& rule, const py::list& params, std::vector<std::string> names,
         const std::vector<int>& group_of, const py::list& states, const py::object& averages, double ema_decay,
         int threads);

  void set_group(std::size_t k, unsigned variant, const std::vector<double>& hyper, double lr, double weight_decay,
                 double l1, const std::string& decay, bool maximize);

  /// `rates`: None, or the learning rate of every group for this step.
  StepInfo step(py::handle gradients, py::handle rates, double decay_scale, double clip_norm, double clip_value,
                double grad_scale, bool skip_nonfinite, bool zero_gradients);

  std::int64_t steps() const { return plan_->steps; }
  std::vector<std::int64_t> tensor_steps() const;
  void set_steps(std::int64_t steps, const std::vector<std::int64_t>& of_tensors);

  /// Keeps steps away until `take_back` by the same borrower: `to` names the call that needs the arrays for itself.
  void lend(const std::string& to, const py::object& borrower);

  /// Exchanges the parameters with arrays that lie like them, until `take_back`.
  void exchange(const py::list& others);

  /// Undoes both; nothing for any other borrower. What cannot be put back stays lent.
  void take_back(const py::object& borrower);
  const std::string& lent_to() const { return lent_to_; }

 private:
  struct Owned {
    Extent extent;
    std::string what;
    py::array array;
  };

  Tensor adopt_parameter(std::size_t k, py::handle object);
  void* adopt_companion(std::size_t k, py::handle object, const char* what);
  py::array require_companion(std::size_t k, py::handle object, const Where& where) const;
  void check_parameters(const std::string& call, Snapshot::Use use = Snapshot::Use::write) const;
  std::string lent_call() const { return label_ + "." + lent_to_; }
  void require_idle() const;
  void require_own(const std::string& call) const;
  void take_gradients(py::handle gradients, bool zero_gradients);
  void take_gradient(std::size_t k, py::handle gradient);
  [[noreturn]] void refuse_to_zero(std::size_t k, py::handle gradient) const;
  void check_against_owned(std::size_t k, const py::array& gradient) const;
  void check_among_gradients();
  void own(const py::array& array, std::string what);
  void check_owned();
  Where gradient_at(std::size_t k) const { return {step_label_, "grads", std::ptrdiff_t(k), names_[k]}; }

  std::string label_, step_label_;
  std::vector<std::string> names_;
  int threads_;  // at most; 0: no limit of its own
  std::vector<py::array> params_;
  std::vector<std::vector<int>> orders_;  // of each parameter's axes in memory
  std::vector<Snapshot> checked_params_, checked_gradients_;
  std::vector<char> can_zero_;      // of each gradient: writeable, no repeated elements
  bool disjoint_ = false;           // true if the gradients seen are known to share no memory
  py::tuple held_;                  // the gradients, during a step
  std::vector<py::array> scalars_;  // those of them that were NumPy scalars, as arrays
  std::string lent_to_;             // the call that keeps steps away; mostly none
  py::object borrower_;
  std::vector<py::array> exchanged_;  // what the parameters' own values lie in; mostly none
  std::vector<Owned> owned_;          // all that a step writes, by address
  std::optional<Plan> plan_;
  std::atomic<bool> busy_{false};
};

void bind_plan(py::module_& m);

}  // namespace fusedstep::bind
