// fusedstep._core.Plan: an optimizer's arrays, groups and kernels. All that a step can do is written here, once; a
// Source yields the arrays. A step works on the plan's own snapshot of pointers and sizes: it is compared with the
// arrays after the last line of Python code has run, and what no longer matches is refused, or left to the caller to
// plan anew.
#pragma once

#include <atomic>
#include <optional>
#include <tuple>

#include "python/source.h"
#include "step/plan.h"

namespace fusedstep {
class RowGradient;
}

namespace fusedstep::bind {

/// Of a group: variant, hyperparameters, lr (unless a step has its own), weight_decay, l1, decay, maximize; the states'
/// dtype ("": that of the parameter) and the rounding ("": that of the width).
using Options =
    std::tuple<unsigned, std::vector<double>, double, double, double, std::string, bool, std::string, std::string>;

/// Of a plan, besides its arrays.
struct Choices {
  std::optional<double> ema_decay;
  bool master_weights = false;     // 16-bit parameters keep the bits of float32
  std::uint64_t seed = 0;          // of stochastic rounding
  std::vector<Place> places = {};  // of the parameters among all of the optimizer; empty: whole, from 0 on
};

/// Clears something however the scope is left.
template <class F>
struct AtExit {
  F action;
  ~AtExit() { action(); }
};
template <class F>
AtExit(F) -> AtExit<F>;

class PyPlan {
 public:
  /// `groups` is their number; every group is to be set before `attach`.
  PyPlan(std::string label, const std::string& rule, std::unique_ptr<Source> source, const py::list& params,
         std::vector<std::string> names, const std::vector<int>& group_of, std::size_t groups, const Choices& choices);

  void set_group(std::size_t k, const Options& options);

  /// Gives parameter k its state, without which it is not stepped: a dict with the rule's arrays and scalars, "ema" if
  /// the plan averages, and "step", a counter, if there is one; None for an empty one. An array NAME of 8 bits has
  /// "NAME_scale" beside it, and a parameter that keeps the bits of float32 "low" and "low_sum", or "master". `steps`
  /// were taken.
  void attach(std::size_t k, const std::optional<py::dict>& state, std::int64_t steps);

  /// To be called when all are attached: raises if two of the arrays that a step writes share memory.
  void settle();

  /// Takes the options of the user's groups as they are now for what must not change; false if more has changed.
  bool follow_options();

  /// One step; nothing, and nothing happens, if the user has changed what the plan was made from, or a parameter with a
  /// gradient lacks its state.
  std::optional<StepInfo> step(py::handle gradients, py::handle rates, StepOptions options, int threads);

  /// Of the gradients of one class of parameters: the sum of their squares, those of (2^-600 x)^2 and (2^600 x)^2, for
  /// where the first is out of range, and whether all are finite.
  using Squares = std::tuple<double, double, double, bool>;

  /// Checks all that a step would, and returns what this process knows of a norm that several share, for each class;
  /// nothing where `step` would return nothing. Writes nothing. `classes` has a number for each parameter.
  std::optional<std::vector<Squares>> squares(const std::vector<std::size_t>& classes, bool zero, int threads);
  /// A step of some rows of parameter k, whose gradients are multiplied by `factor`; false as `step` has nothing.
  bool step_rows(std::size_t k, const RowGradient& rows, std::int64_t of, const View& values,
                 const std::vector<double>& rates, StepOptions options, double factor, int threads);

  /// "AdamW.step", for errors.
  const std::string& step_label() const { return step_label_; }

  std::int64_t steps() const { return plan_->steps; }
  std::vector<std::int64_t> tensor_steps() const;

  /// Copies sources into targets that lie like them, sets counts and groups, and updates dicts: all at once, for no
  /// code of the user, no signal's handler either, runs in between.
  void restore(std::int64_t steps, const std::vector<std::int64_t>& of_tensors, const py::list& pairs,
               const std::vector<Options>& groups, const py::list& updates);

  /// Keeps steps away until `release` by the same holder: `method` needs the arrays for itself.
  void reserve(const std::string& method, const py::object& holder);
  /// Exchanges parameters with arrays that lie like them (None: left alone), until `release`.
  void swap(const py::list& others);
  /// Undoes both; nothing for any other holder. What cannot be put back stays reserved.
  void release(const py::object& holder);
  const std::string& reserved_by() const { return reserved_by_; }

  /// For the garbage collector.
  int traverse(visitproc visit, void* arg) const;

 private:
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
  /// Memory that a step writes; `reach` is the highest address of this and all before it.
  struct Owned {
    Extent extent;
    const char* reach;
    const Snapshot* seen;
    const char* argument;
    std::size_t parameter;
  };
  /// Nobody else changes or steps the plan while this lives.
  class Claim {
   public:
    /// Raises if somebody does.
    Claim(PyPlan& plan, const std::string& call, const char* otherwise);
    /// Waits for those who will be refused, or are done soon.
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

  bool unchanged(const Held& held, Snapshot::Use use) const;
  bool parameters_unchanged() const;
  void require_unchanged(const std::string& call, Snapshot::Use use) const;
  void require_free(const std::string& call) const;
  bool take_inputs(py::handle gradients, py::handle rates, bool zero);
  void drop_inputs();
  bool take_gradients(bool zero);
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
  std::vector<State> states_;    // of each parameter
  std::vector<Layout> layouts_;  // of each parameter
  bool has_scalars_ = false;     // or counters: some parameter does
  Inputs inputs_;                // of the step at hand
  bool disjoint_ = false;        // the gradients seen are known to share no memory
  std::string reserved_by_;      // the method that keeps steps away; mostly none
  py::object holder_;            // what called it
  std::vector<Held> swapped_;    // what the parameters' own values lie in; mostly none
  std::vector<Owned> owned_;     // all that a step writes, by address
  std::optional<Plan> plan_;
  std::atomic<bool> claimed_{false};
};

}  // namespace fusedstep::bind
