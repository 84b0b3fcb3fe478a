// The part of an optimizer that does not depend on Python: a list of tensors, groups of hyperparameters, and the step.
// A step treats the tensors as one long array. The caller must ensure that the pointers are valid.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "step/kernel.h"

namespace fusedstep {

// The concatenation of all tensors is divided into chunks of this number of elements. The bits of a norm depend on this
// number.
constexpr std::int64_t chunk_size = 4096;

class RowGradient;

enum class Decay { l2, decoupled, proximal };

struct Group {
  unsigned variant = 0;
  double hyper[max_hyper] = {};
  double lr = 0, weight_decay = 0, l1 = 0;  // lr is used if StepOptions::rates is null
  Decay decay = Decay::l2;
  bool maximize = false;
  // True: numbers of less than 32 bits are rounded stochastically. False: they are rounded to nearest.
  bool stochastic_parameters = false, stochastic_states = false;
};

/// The position of a tensor among all tensors of the optimizer.
struct Place {
  std::uint32_t number = 0;
  std::uint64_t first_block = 0;  // the index, in the whole tensor, of the first block that this process has
};

struct Tensor {
  Strided p;
  void* states[max_states] = {};  // contiguous, in the memory order of p
  void* ema = nullptr;            // average of p; contiguous, in the memory order of p, of type computed_in(dtype)
  std::ptrdiff_t size = 0;
  int group = 0;
  DType dtype = DType::f32;
  std::int64_t steps = 0;  // the number of steps in which this tensor had a gradient
  double scalars[max_scalars] = {};

  // Values for the current step.
  Strided gradient;
  DType gradient_dtype = DType::f32;  // computed_in(gradient_dtype) equals computed_in(dtype)
  const RowGradient* rows = nullptr;  // if not null, the gradients of some rows, and `gradient` is not used
  bool active = false;
  bool in_place = true;  // all streams are float32 or float64 and without gaps; set by `lay_out`
  int coefficients = 0;
  std::int64_t start = 0;  // the index of its first element in the concatenation of all tensors; set by Plan

  // The formats of the streams.
  Format format = Format::f32;            // of p
  Format state_formats[max_states] = {};  // of the states that exist
  void *low = nullptr, *sums = nullptr;   // see Stream::beside and Stream::sums
  void* scales[max_states] = {};          // Stream::beside of the states
  Place place = {};                       // for random bits

  Stream parameter() const { return {p, format, low, sums}; }
  Stream state(int k) const { return {{static_cast<char*>(states[k])}, state_formats[k], scales[k]}; }

  /// Sets `in_place`. Must be called after streams have changed.
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
  std::optional<double> grad_norm = {};  // if given, used as the norm of all gradients divided by grad_scale
};

struct StepInfo {
  std::int64_t step = 0;            // steps taken so far
  std::optional<double> grad_norm;  // of the gradients divided by grad_scale; set if the step computes or gets it
  double clip_coef = 1.0;
  bool skipped = false;
};

/// One process's contribution to a norm over the gradients of several processes. `sum` is the sum of x^2, `lowered` of
/// (2^-600 x)^2, and `raised` of (2^600 x)^2. If x^2 overflows in float64, `lowered` is used instead of `sum`. If x^2
/// is so small that it loses digits, `raised` is used.
struct Squares {
  double sum, lowered, raised;
  bool finite;  // all gradients are finite
};

class Plan {
 public:
  Plan(int rule, std::vector<Tensor> tensors, std::vector<Group> groups, double ema_decay);

  /// Takes one step with the gradients in `tensors`. Allocates no memory and cannot fail. If the step needs a norm and
  /// some tensor has gradients of only some rows (Tensor::rows), the caller must set StepOptions::grad_norm.
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
  int own_decay_ = -1;      // index of "weight_decay" in hyper if the rule applies the decay; -1 if stages do
  std::int64_t total_ = 0;  // number of elements
  bool has_rows_ = false;   // some tensor has gradients of only some rows in this step
  std::vector<std::int32_t> first_tensor_;            // for each chunk: the index of the tensor in which it begins
  std::vector<double> partial_;                       // for each chunk: its sum of squares
  std::vector<Stages> stages_;                        // for each group
  std::vector<std::array<double, max_hyper>> hyper_;  // for each group, in this step
  std::vector<Coefficients> coefficients_;
  // For rules with two passes: each tensor is divided into pieces of chunk_size elements. Unlike a chunk, a piece never
  // has elements of two tensors. `squares` and `measured` are the piece's sums of squares for the two norms of TrustFn.
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
