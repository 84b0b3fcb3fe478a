// An optimizer as the driver sees it: tensors laid end to end, groups of hyperparameters, one sweep per step.
// Knows no Python; whoever fills it in vouches for the memory.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "step/kernel.h"

namespace fusedstep {

// Chunks cut the concatenation of all tensors; the bits of a norm depend on this number and on nothing else.
constexpr std::int64_t chunk_size = 4096;

enum class Decay { l2, decoupled, proximal };

struct Group {
  unsigned variant = 0;
  double hyper[max_hyper] = {};
  double lr = 0, weight_decay = 0, l1 = 0;  // lr: unless the step has its own
  Decay decay = Decay::l2;
  bool maximize = false;
  bool stochastic_parameters = false, stochastic_states = false;  // how those that have no float32's bits are rounded
};

/// Where a tensor is among all of the optimizer.
struct Place {
  std::uint32_t number = 0;
  std::uint64_t first_block = 0;  // in the whole tensor, where this process has a part of it
};

struct Tensor {
  Strided p;
  void* states[max_states] = {};  // contiguous, in the memory order of p, of its dtype
  void* ema = nullptr;            // the same, of the dtype that is computed in
  std::ptrdiff_t size = 0;
  int group = 0;
  DType dtype = DType::f32;
  std::int64_t steps = 0;  // taken by this tensor: a step without its gradient does not count
  double scalars[max_scalars] = {};

  // For the step at hand.
  Strided gradient;
  DType gradient_dtype = DType::f32;  // computed in the same type as dtype
  bool active = false;
  bool in_place = true;  // all streams lie in the computing type without gaps: none needs a block; see `lay_out`
  int coefficients = 0;
  std::int64_t start = 0;  // in the concatenation of all tensors; set by Plan

  // Of streams in other formats.
  Format format = Format::f32;            // of p
  Format state_formats[max_states] = {};  // of those that there are
  void *low = nullptr, *sums = nullptr;   // beside p; see Stream
  void* scales[max_states] = {};          // beside the states
  Place place = {};                       // for random bits

  Stream parameter() const { return {p, format, low, sums}; }
  Stream state(int k) const { return {{static_cast<char*>(states[k])}, state_formats[k], scales[k]}; }

  /// To be called when streams have changed.
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
  const double* rates = nullptr;         // of every group, for this step; null: the groups' own
  std::optional<double> grad_norm = {};  // to clip by, of all gradients after their division by grad_scale
};

struct StepInfo {
  std::int64_t step = 0;            // steps taken so far
  std::optional<double> grad_norm;  // of the unscaled gradients; known for clip_norm and skip_nonfinite
  double clip_coef = 1.0;
  bool skipped = false;
};

/// What one process knows of a norm over the gradients of several.
struct Squares {
  double sum, lowered, raised;  // of x^2; of (2^-600 x)^2 and (2^600 x)^2, in range where squares of float64 are not
  bool finite;                  // all of them are
};
class RowGradient;

class Plan {
 public:
  Plan(int rule, std::vector<Tensor> tensors, std::vector<Group> groups, double ema_decay);

  /// One step with the gradients that the tensors hold. Allocates nothing and cannot fail.
  StepInfo step(const StepOptions& options, int threads) noexcept;

  /// Of the gradients that the tensors hold.
  Squares squares(int threads);
  /// Steps those rows of tensor k, the only active one, that have a gradient, after its multiplication by `factor`.
  /// Counts the step of the tensor alone.
  void step_rows(std::size_t k, const RowGradient& rows, const StepOptions& options, double factor,
                 int threads) noexcept;

  int rule() const { return rule_; }

  /// How many threads a step can use: each pays for its start from some number of elements.
  std::int64_t useful_threads() const;

  std::vector<Tensor> tensors;
  std::vector<Group> groups;
  std::int64_t steps = 0;
  std::uint64_t seed = 0;  // of stochastic rounding

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
  void prepare_group(std::size_t k, double rate, const StepOptions& options, double factor);
  void prepare(const StepOptions& options, double factor);
  void measure(int threads);
  void sweep(int threads);
  void run(SweepFn kernel, const FusedList& fused, const Tensor& t, std::int64_t first, std::int64_t n,
           const Stages& stages);
  void zero_gradients();

  int rule_;
  double ema_decay_;
  int own_decay_ = -1;                      // the hyperparameter that a rule decays by itself with; -1: stages do
  std::int64_t total_ = 0;                  // elements
  std::vector<std::int32_t> first_tensor_;  // of each chunk
  std::vector<double> partial_;             // of each chunk: its sum of squares
  std::vector<Stages> stages_;              // of each group
  std::vector<std::array<double, max_hyper>> hyper_;  // of each group, for this step
  std::vector<Coefficients> coefficients_;
  // Of rules with norms: chunks that begin anew with each tensor, and their sums of squares.
  struct Piece {
    std::int32_t tensor;
    std::int64_t first;
    double squares, measured;
  };
  std::vector<Piece> pieces_;
};

}  // namespace fusedstep
