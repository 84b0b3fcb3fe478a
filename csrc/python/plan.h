// fusedstep._core.Plan: an optimizer's arrays, groups and kernels. Everything that a step can do is implemented here,
// once, for all sources of arrays. A step uses the plan's own snapshot of pointers and sizes. It compares the snapshot
// with the arrays after the last line of Python code has run. If an array differs, the step is refused, or it returns
// nothing and the caller makes a new plan.
#pragma once

#include <algorithm>
#include <atomic>
#include <optional>
#include <tuple>

#include "python/rows.h"
#include "python/source.h"
#include "step/plan.h"

namespace fusedstep::bind {

/// The options of a group: variant, hyperparameters, lr (unless a step is given rates), weight_decay, l1, decay,
/// maximize; the dtype of the states ("": that of the parameter) and the rounding ("": the default of the dtype).
using Options =
    std::tuple<unsigned, std::vector<double>, double, double, double, std::string, bool, std::string, std::string>;

/// The options of a plan.
struct Choices {
  std::optional<double> ema_decay;
  bool master_weights = false;     // 16-bit parameters keep the lower bits of float32
  std::uint64_t seed = 0;          // for stochastic rounding
  std::vector<Place> places = {};  // of each parameter in the whole optimizer; empty: whole, 0, 1, ...
};

/// Runs an action at the end of the scope, also after an exception.
template <class F>
struct AtExit {
  F action;
  ~AtExit() { action(); }
};
template <class F>
AtExit(F) -> AtExit<F>;

class PyPlan {
 public:
  /// `groups` is the number of groups. Each group must be set before `attach` is called.
  PyPlan(std::string label, const std::string& rule, std::unique_ptr<Source> source, const py::list& params,
         std::vector<std::string> names, const std::vector<int>& group_of, std::size_t groups, const Choices& choices);

  void set_group(std::size_t k, const Options& options);

  /// Gives parameter k its state; without it the parameter cannot be stepped. `state` is a dict with the rule's arrays
  /// and scalars, with "ema" if the plan averages, and with "step", a counter, if there is one; None means an empty
  /// dict. A state NAME of 8 bits needs "NAME_scale". A parameter that keeps the lower bits of float32 needs "low" and
  /// "low_sum", or "master". `steps` is the number of steps that were taken.
  void attach(std::size_t k, const std::optional<py::dict>& state, std::int64_t steps);

  /// Must be called after all states are attached. Raises if two of the arrays that a step writes share memory.
  void settle();

  /// Accepts the current options of the user's groups as unchanged. Returns false if more than options has changed.
  bool follow_options();

  /// Takes one step. Returns nothing, and does nothing, if the user has changed what the plan was made from, or if a
  /// parameter with a gradient has no state.
  std::optional<StepInfo> step(py::handle gradients, py::handle rates, StepOptions options, int threads);

  /// For one class of parameters: the sum of the squares of all gradients; the sums of (2^-600 x)^2 and (2^600 x)^2,
  /// for where the first is out of range; whether all gradients are finite.
  using Squares = std::tuple<double, double, double, bool>;

  /// Makes all checks of a step and returns, for each class, this process's part of a norm over several processes.
  /// Returns nothing where `step` would. Writes nothing. `classes` has the number of the class of each parameter. Rows
  /// are checked, and are not part of the norm.
  std::optional<std::vector<Squares>> squares(py::handle gradients, const std::vector<std::size_t>& classes, bool zero,
                                              int threads);

  /// "AdamW.step", for errors.
  const std::string& step_label() const { return step_label_; }

  std::int64_t steps() const { return plan_->steps; }
  std::vector<std::int64_t> tensor_steps() const;

  /// Copies sources into targets of the same layout, sets counts and groups, and updates dicts. No user code, not even
  /// a signal handler, runs in between.
  void restore(std::int64_t steps, const std::vector<std::int64_t>& of_tensors, const py::list& pairs,
               const std::vector<Options>& groups, const py::list& updates);

  /// Refuses steps until the same holder calls `release`, because `method` uses the arrays.
  void reserve(const std::string& method, const py::object& holder);
  /// Exchanges parameters with arrays of the same layout, until `release`. None leaves a parameter as it is.
  void swap(const py::list& others);
  /// Undoes `reserve` and `swap`; does nothing for another holder. If a parameter cannot be restored, steps stay
  /// refused.
  void release(const py::object& holder);
  const std::string& reserved_by() const { return reserved_by_; }

  /// For the garbage collector.
  int traverse(visitproc visit, void* arg) const;

 private:
  static constexpr char stepped[] = "cannot be changed while another thread steps it";

  struct State {
    Held average, count, low, sums;
    Held arrays[max_states], scales[max_states], scalars[max_scalars];

    template <class Visit>
    bool all(Visit&& visit) const;
  };
  struct Layout {
    std::vector<int> order;  // of the parameter's axes in memory
    std::vector<Strided::Dim> dims, gradient_dims;
  };
  /// Memory that a step writes. `reach` is the highest address of this array and of all before it.
  struct Owned {
    Extent extent;
    const char* reach;
    const Snapshot* seen;
    const char* argument;
    std::size_t parameter;
  };
  /// While this object exists, no other thread can change or step the plan.
  class Claim {
   public:
    /// Raises if another thread has a claim.
    Claim(PyPlan& plan, const std::string& call, const char* otherwise);
    /// Waits for other threads' claims, which end soon.
    explicit Claim(PyPlan& plan);
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    ~Claim() { plan_.claimed_ = false; }

   private:
    PyPlan& plan_;
  };

  Held hold(py::handle object, const Where& where, bool stored = false) const;
  Held companion(std::size_t k, py::handle object, const char* argument, DType dtype) const;
  Held of_blocks(std::size_t k, py::handle object, const std::string& name, DType dtype) const;
  Held scalar(std::size_t k, py::handle object, const char* name) const;
  DType state_dtype(const Tensor& t) const;
  void attach_states(std::size_t k, const py::dict& entry);
  void attach_bits(std::size_t k, const py::dict& entry);
  void adopt_parameter(std::size_t k, py::handle object, Tensor& t);
  void own(const Held& held, const char* argument, std::size_t k);
  Group group_of(const Options& options) const;
  bool has_states(const State& state, unsigned variant) const;

  bool parameters_unchanged() const;
  void require_unchanged(const std::string& call, Snapshot::Use use) const;
  void require_free(const std::string& call) const;
  bool take_inputs(py::handle gradients, py::handle rates, bool zero);
  void drop_inputs();
  bool take_gradients(bool zero);
  bool take_rows();
  void check_rows(std::size_t k, const PyRows& rows) const;
  void look_at_gradient(std::size_t k);
  void take_gradient(std::size_t k, const View& view);
  void check_against_owned(std::size_t k, const View& gradient) const;
  void check_among_gradients();
  [[noreturn]] void refuse_to_zero(std::size_t k) const;
  void take_scalars();
  void write_scalars();
  void tell_source(bool gradients_too) const;
  py::list exchange();

  std::string call(const std::string& method) const { return label_ + "." + method; }
  std::string what(const Owned& owned) const;
  Where where(const char* argument, std::size_t k) const { return {label_, argument, std::ptrdiff_t(k), names_[k]}; }
  Where gradient_at(std::size_t k) const { return {step_label_, "grads", std::ptrdiff_t(k), names_[k]}; }

  std::string label_, step_label_;
  std::unique_ptr<Source> source_;
  std::vector<std::string> names_;
  bool averages_, keeps_bits_;
  std::vector<std::string> state_dtypes_;  // of each group
  std::vector<Parameter> params_;
  std::vector<State> states_;      // of each parameter
  std::vector<const Held*> kept_;  // all arrays in states_
  std::vector<Layout> layouts_;    // of each parameter
  bool has_scalars_ = false;       // some parameter has scalars or a counter
  Inputs inputs_;                  // of the current step
  bool disjoint_ = false;          // the current gradients are known to share no memory
  std::string reserved_by_;        // the method during which steps are refused; mostly empty
  py::object holder_;              // the object that called it
  std::vector<Held> swapped_;      // arrays that hold the parameters' own values during a swap; mostly empty
  std::vector<Owned> owned_;       // all memory that a step writes, sorted by address
  std::optional<Plan> plan_;
  std::atomic<bool> claimed_{false};
};

template <class Visit>
bool PyPlan::State::all(Visit&& visit) const {
  return visit(average) && visit(count) && visit(low) && visit(sums) &&
         std::all_of(arrays, arrays + max_states, visit) && std::all_of(scales, scales + max_states, visit) &&
         std::all_of(scalars, scalars + max_scalars, visit);
}

}  // namespace fusedstep::bind
