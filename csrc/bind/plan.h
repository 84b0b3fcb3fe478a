// fusedstep._core.Plan: a driver's plan and the arrays that it works on.
#pragma once

#include <atomic>
#include <optional>

#include "bind/gate.h"
#include "driver/plan.h"

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
         const std::vector<int>& group_of, const py::list& states, const py::object& averages, double ema_decay);

  void set_group(std::size_t k, unsigned variant, const std::vector<double>& hyper, double lr, double weight_decay,
                 double l1, const std::string& decay, bool maximize);

  /// `rates`: None, or the learning rate of every group for this step.
  StepInfo step(py::handle gradients, py::handle rates, double decay_scale, double clip_norm, double clip_value,
                double grad_scale, bool skip_nonfinite, bool zero_gradients, int threads);

  std::int64_t steps() const { return plan_->steps; }
  std::vector<std::int64_t> tensor_steps() const;
  void set_steps(std::int64_t steps, const std::vector<std::int64_t>& of_tensors);

  /// Parameters can be resized or made read-only behind our back. `call` is for the error.
  void check_parameters(const std::string& call) const;

 private:
  struct Owned {
    Extent extent;
    std::string what;
    py::array array;
  };

  Tensor adopt_parameter(std::size_t k, py::handle object);
  void* adopt_companion(std::size_t k, py::handle object, const char* what);
  void require_idle() const;
  void take_gradients(py::handle gradients, bool zero_gradients);
  void take_gradient(std::size_t k, py::handle gradient);
  [[noreturn]] void refuse_to_zero(std::size_t k, const py::array& gradient) const;
  void check_against_owned(std::size_t k, const py::array& gradient) const;
  void check_among_gradients();
  void own(const py::array& array, std::string what);
  void check_owned();
  Where gradient_at(std::size_t k) const { return {step_label_, "grads", std::ptrdiff_t(k), names_[k]}; }

  std::string label_, step_label_;
  std::vector<std::string> names_;
  std::vector<py::array> params_;
  std::vector<std::vector<int>> orders_;  // of each parameter's axes in memory
  std::vector<Snapshot> checked_params_, checked_gradients_;
  std::vector<char> can_zero_;  // of each gradient: writeable, no repeated elements
  bool disjoint_ = false;       // true if the gradients seen are known to share no memory
  py::tuple held_;              // the gradients, during a step
  std::vector<Owned> owned_;    // all that a step writes, by address
  std::optional<Plan> plan_;
  std::atomic<bool> busy_{false};
};

void bind_plan(py::module_& m);

}  // namespace fusedstep::bind
