// fusedstep._core.Plan, which has the arrays, the groups and the kernels of an optimizer. It implements steps for NumPy
// arrays and for torch tensors. A plan keeps a snapshot of the pointers and sizes of its arrays, and the kernels use
// this snapshot. At the beginning of a step, the user's Python code may run and change arrays. After this, the step
// compares the snapshot with the arrays. If a NumPy array has changed, the step raises an error. If a tensor has
// changed, the step returns nothing, and the caller makes a new plan.
#pragma once

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>
#include <tuple>

#include "python/rows.h"
#include "python/source.h"
#include "step/plan.h"

namespace fusedstep::bind {

/// The options of a group, in this order: variant, hyperparameters, lr, weight_decay, l1, decay, maximize, the dtype of
/// the states, and the rounding. lr is used in steps without the argument `rates`. If the dtype is "", states have the
/// dtype of the parameter. If the rounding is "stochastic", parameters and states are rounded stochastically. If it is
/// "", only states are, and only if the dtype is not "".
using Options =
    std::tuple<unsigned, std::vector<double>, double, double, double, std::string, bool, std::string, std::string>;

/// The options of a plan.
struct Choices {
  std::optional<double> ema_decay;
  bool master_weights = false;     // the float32 value of each element of a 16-bit parameter is kept
  std::uint64_t seed = 0;          // for stochastic rounding
  std::vector<Place> places = {};  // of each parameter in the whole optimizer; empty: parameter k is all of tensor k
};

/// Calls a function at the end of the scope, also after an exception.
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

  /// Sets the state of parameter k. A parameter without a state cannot be updated. `steps` is the number of steps of
  /// this parameter so far. `state` is a dict; None means an empty dict. It has these items:
  ///   - the arrays and the scalars of the update rule
  ///   - "ema": the average of the parameter, if the plan has ema_decay
  ///   - "step": the number of steps, if it is stored in an array
  ///   - "NAME_scale": the scales of the state NAME, if this state has 8 bits
  ///   - "low" and "low_sum" for bfloat16, or "master" for float16: what is needed for the float32 values of the
  ///     parameter, if the plan has master_weights
  void attach(std::size_t k, const std::optional<py::dict>& state, std::int64_t steps);

  /// Must be called after the states are attached. Raises if two arrays that a step writes share memory.
  void settle();

  /// Called after the options of groups have changed. From then on, steps compare the groups with the current options.
  /// Returns false if anything other than options has changed, too.
  bool follow_options();

  /// Takes one step. If the user has replaced objects from which the plan was made, or if a parameter with a gradient
  /// has no state, the function changes nothing and returns nothing.
  std::optional<StepInfo> step(py::handle gradients, py::handle rates, StepOptions options, int threads);

  /// Four results for the elements x of some gradients: the sum of x^2, the sum of (2^-600 x)^2, the sum of
  /// (2^600 x)^2, and whether all elements are finite. If the first sum overflows, the second is used. If the first sum
  /// loses digits by underflow, the third is used.
  using Squares = std::tuple<double, double, double, bool>;

  /// Used if a norm is computed over several processes. The caller divides the parameters into classes with the numbers
  /// 0, 1, ...: classes[k] is the class of parameter k. The function makes all checks of a step; `zero` says whether
  /// this step would zero the gradients. It then returns the sums of this process for each class, and changes no array.
  /// If `step` would return nothing, this function does too. Gradients of rows are checked, but are not part of the
  /// sums.
  std::optional<std::vector<Squares>> squares(py::handle gradients, const std::vector<std::size_t>& classes, bool zero,
                                              int threads);

  /// The beginning of errors, for example "AdamW.step".
  const std::string& step_label() const { return step_label_; }

  std::int64_t steps() const { return plan_->steps; }
  std::vector<std::int64_t> tensor_steps() const;

  /// Loads a saved state. `pairs` has targets and sources of the same layout, and each source is copied to its target.
  /// Then the numbers of steps and the options of groups are set, and the dicts in `updates` are updated. No user code
  /// runs during these changes, not even a signal handler.
  void restore(std::int64_t steps, const std::vector<std::int64_t>& of_tensors, const py::list& pairs,
               const std::vector<Options>& groups, const py::list& updates);

  /// Called at the beginning of a `method` of the optimizer that uses the arrays. Steps raise an error until `release`
  /// is called with the same `holder`, which may be any object.
  void reserve(const std::string& method, const py::object& holder);
  /// Exchanges the values of parameters with those of other arrays of the same layout, until `release` is called. If
  /// others[k] is None, parameter k does not change.
  void swap(const py::list& others);
  /// Undoes `reserve` and `swap`. If `reserve` was called with another holder, does nothing. If a parameter cannot be
  /// restored, raises an error, and later steps still raise an error.
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
    std::vector<int> order;  // the parameter's axes, from the largest stride to the smallest
    std::vector<Strided::Dim> dims, gradient_dims;
  };
  /// Memory that a step writes. `reach` is the highest address of this array and of all earlier arrays in the list.
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
    /// Raises an error with the text `otherwise` if a Claim of the plan already exists.
    Claim(PyPlan& plan, const std::string& call, const char* otherwise);
    /// Waits until no other thread has a Claim of the plan. Raises an error if this thread has one.
    Claim(PyPlan& plan, const std::string& call);
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    ~Claim() { plan_.claimant_ = std::thread::id(); }

   private:
    bool take();

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
  bool has_scalars_ = false;       // at least one parameter has scalars, or a count of steps in an array
  Inputs inputs_;                  // of the current step
  bool disjoint_ = false;          // the current gradients are known to share no memory with each other
  std::string reserved_by_;        // the method during which steps raise an error; usually empty
  py::object holder_;              // the holder that `reserve` was called with
  std::vector<Held> swapped_;      // arrays with the parameters' own values during a swap; usually empty
  std::vector<Owned> owned_;       // all memory that a step writes, sorted by address
  std::optional<Plan> plan_;
  std::atomic<std::thread::id> claimant_{};
};

template <class Visit>
bool PyPlan::State::all(Visit&& visit) const {
  return visit(average) && visit(count) && visit(low) && visit(sums) &&
         std::all_of(arrays, arrays + max_states, visit) && std::all_of(scales, scales + max_states, visit) &&
         std::all_of(scalars, scalars + max_scalars, visit);
}

}  // namespace fusedstep::bind
