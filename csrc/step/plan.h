// The part of an optimizer that does not depend on Python: a list of tensors, groups of hyperparameters, and the step.
// A step treats the tensors as one long array. The caller must ensure that the pointers are valid.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "step/kernel.h"

namespace fusedstep {

// Chunks divide the concatenation of all tensors. The bits of a norm depend on this number.
constexpr std::int64_t chunk_size = 4096;

class RowGradient;

enum class Decay { l2, decoupled, proximal };

struct Group {
  unsigned variant = 0;
  double hyper[max_hyper] = {};
  double lr = 0, weight_decay = 0, l1 = 0;  // lr is used if StepOptions::rates is null
  Decay decay = Decay::l2;
  bool maximize = false;
  bool stochastic_parameters = false, stochastic_states = false;  // how numbers of less than 32 bits are rounded
};

/// The position of a tensor among all tensors of the optimizer.
struct Place {
  std::uint32_t number = 0;
  std::uint64_t first_block = 0;  // index in the whole tensor, if this process has only a part of the tensor
};

struct Tensor {
  Strided p;
  void* states[max_states] = {};  // contiguous, in the memory order of p
  void* ema = nullptr;            // the same, of the computing type
  std::ptrdiff_t size = 0;
  int group = 0;
  DType dtype = DType::f32;
  std::int64_t steps = 0;  // the number of steps in which this tensor had a gradient
  double scalars[max_scalars] = {};

  // Values for the current step.
  Strided gradient;
  DType gradient_dtype = DType::f32;  // has the same computing type as dtype
  const RowGradient* rows = nullptr;  // if set, the gradient of some rows, and `gradient` is not used
  bool active = false;
  bool in_place = true;  // all streams are of the computing type and without gaps; see `lay_out`
  int coefficients = 0;
  std::int64_t start = 0;  // its first element in the concatenation of all tensors; set by Plan

  // The formats of the streams.
  Format format = Format::f32;            // of p
  Format state_formats[max_states] = {};  // of the states that exist
  void *low = nullptr, *sums = nullptr;   // see Stream::beside and Stream::sums
  void* scales[max_states] = {};          // Stream::beside of the states
  Place place = {};                       // for random bits

  Stream parameter() const { return {p, format, low, sums}; }
  Stream state(int k) const { return {{static_cast<char*>(states[k])}, state_formats[k], scales[k]}; }

  /// Must be called after streams have changed.
  void lay_out() {
    in_place = p.contiguous && gradient.contiguous && is_native(format) && !is_half(gradient_dtype);
    for (int k = 0; k < max_states; ++k) in_place = in_place && (!states[k] || is_native(state_formats[k]));
  }
  bool has_blocks() const {
    bool any = fusedstep::has_blocks(format);
    for (int k = 0; k < max_states; ++k) any = any || (states[k] && fusedstep::has_blocks(state_formats[k]));
    return any;
  }
};

struct StepOptions {
  double decay_scale = 1, grad_scale = 1;
  double clip_norm = -1, clip_value = -1;  // negative: none
  bool skip_nonfinite = false, zero_gradients = false;
  const double* rates = nullptr;         // of every group, for this step; null: each group's lr
  std::optional<double> grad_norm = {};  // the norm to clip by, of all gradients after their division by grad_scale
};

struct StepInfo {
  std::int64_t step = 0;            // steps taken so far
  std::optional<double> grad_norm;  // of the unscaled gradients; known if clip_norm or skip_nonfinite is given
  double clip_coef = 1.0;
  bool skipped = false;
};

/// One process's contribution to a norm over the gradients of several processes.
struct Squares {
  double sum, lowered, raised;  // of x^2; of (2^-600 x)^2 and (2^600 x)^2, in range where float64's squares are not
  bool finite;                  // all gradients are finite
};

class Plan {
 public:
  Plan(int rule, std::vector<Tensor> tensors, std::vector<Group> groups, double ema_decay);

  /// Takes one step with the gradients in `tensors`. Allocates no memory and cannot fail. If the step needs a norm and
  /// some tensor has a gradient of rows, the caller must set StepOptions::grad_norm.
  StepInfo step(const StepOptions& options, int threads) noexcept;

  /// Sums of squares of the gradients in `tensors`.
  Squares squares(int threads);

  int rule() const { return rule_; }

  /// The largest number of threads that a step over all elements should use. If the result is 0, one thread is used.
  std::int64_t useful_threads() const;

  std::vector<Tensor> tensors;
  std::vector<Group> groups;
  std::int64_t steps = 0;
  std::uint64_t seed = 0;  // for stochastic rounding

 private:
  template <class Visit>
  void for_runs(std::int64_t begin, std::int64_t end, Visit&& visit) const;
  double squared_norm(int threads);
  double squared_norm_of(std::int64_t chunk) const;
  double norm(int threads);
  double squares_scaled_by(double power) const;
  bool has_float64() const;
  bool finite(double factor = 1) const;
  bool overflows(double norm, double factor) const;
  void clip(const StepOptions& options, int threads, StepInfo& info);
  void prepare_group(std::size_t k, double rate, const StepOptions& options, double factor, int threads);
  void prepare(const StepOptions& options, double factor, int threads);
  void measure(int threads);
  void sweep(int threads);
  void sweep_rows(int threads);
  void run(SweepFn kernel, const FusedList& fused, const Tensor& t, std::int64_t first, std::int64_t n,
           const Stages& stages);
  void run_blocks(SweepFn kernel, const FusedList& fused, const Tensor& t, std::int64_t first, std::int64_t n,
                  const Stages& stages);
  void zero_gradients();

  int rule_;
  double ema_decay_;
  int own_decay_ = -1;      // index of "weight_decay" in hyper if the rule decays by itself; -1 if the stages decay
  std::int64_t total_ = 0;  // number of elements
  bool has_rows_ = false;   // some tensor has a gradient of rows in this step
  std::vector<std::int32_t> first_tensor_;            // for each chunk
  std::vector<double> partial_;                       // for each chunk: its sum of squares
  std::vector<Stages> stages_;                        // for each group
  std::vector<std::array<double, max_hyper>> hyper_;  // for each group, in this step
  std::vector<Coefficients> coefficients_;
  // Of rules with two passes: chunks that begin anew with each tensor, and their sums of squares.
  struct Piece {
    std::int32_t tensor;
    std::int64_t first;
    double squares, measured;
  };
  std::vector<Piece> pieces_;
};

/// Calls visit(tensor, first, n) for each run of elements in [begin, end) of the concatenation of all tensors. Skips
/// tensors that are not active and tensors whose gradient is a RowGradient.
template <class Visit>
void Plan::for_runs(std::int64_t begin, std::int64_t end, Visit&& visit) const {
  end = std::min(end, total_);
  for (auto k = std::size_t(first_tensor_[std::size_t(begin / chunk_size)]); begin < end; ++k) {
    const Tensor& t = tensors[k];
    const std::int64_t stop = std::min(end, t.start + t.size);
    if (begin < stop && t.active && !t.rows) visit(t, begin - t.start, stop - begin);
    begin = std::max(begin, stop);
  }
}

}  // namespace fusedstep
