#include "step/plan.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "machine/parallel.h"
#include "machine/system.h"
#include "step/blocks.h"
#include "step/rows.h"

namespace fusedstep {
namespace {

/// The number of bytes that a typical step reads per element: a parameter, a gradient and two states in float32.
constexpr std::int64_t usual_bytes = 16;

Stages stages(const Group& g, double lr, const StepOptions& options, double factor, double ema_decay) {
  Stages s;
  s.scale = g.maximize ? -factor : factor;
  s.clip_value = options.clip_value;
  s.ema_decay = ema_decay;
  s.zero_gradient = options.zero_gradients;
  const double decay = options.decay_scale * g.weight_decay, l1 = options.decay_scale * g.l1;
  switch (g.decay) {
    case Decay::l2:
      s.l2 = decay, s.l1 = l1;
      break;
    case Decay::decoupled:
      s.shrink = 1.0 - lr * decay, s.subtract = lr * l1;
      break;
    case Decay::proximal:
      s.divide = 1.0 + lr * decay, s.threshold = lr * l1;
      break;
  }
  return s;
}

double clip_coefficient(double bound, double norm) {
  const double coefficient = bound / (norm + 1e-6);
  return coefficient > 1.0 ? 1.0 : coefficient;  // nan stays nan, as in torch
}

/// The first element at or after `at` that begins a block, or `size` if there is none. So if a thread's share of the
/// elements begins inside a block, the whole block belongs to the previous share.
std::int64_t next_block(std::int64_t at, std::int64_t size) {
  return std::min(size, (at + scaled_together - 1) / scaled_together * scaled_together);
}

/// The index of the hyperparameter "weight_decay" of a rule. It is -1 if the rule has no such hyperparameter. In this
/// case, stages apply the weight decay.
int own_decay(const RuleInfo& info) {
  const char* const* const end = info.hyper + info.hyper_count;
  const auto* const found = std::find(info.hyper, end, std::string_view("weight_decay"));
  return found == end ? -1 : int(found - info.hyper);
}

/// True if t has the same coefficients as `last`, provided that their scalars are equal, too. Is called after t.steps
/// has been increased.
bool shares_coefficients(const Tensor& last, const Tensor& t) {
  return last.group == t.group && computed_in(last.dtype) == computed_in(t.dtype) && last.steps == t.steps;
}

/// True if the scalars of t are equal to `before`, from which the last coefficients were computed.
bool shares_scalars(const double* before, const Tensor& t) {
  return std::equal(before, before + max_scalars, t.scalars);
}

/// Calls give(tensor, norm, measured) for each tensor: its index, and the norms computed from the sums of squares of
/// its pieces. The pieces of a tensor follow each other.
template <class Pieces, class Give>
void for_norms(const Pieces& pieces, Give&& give) {
  for (std::size_t k = 0; k < pieces.size();) {
    const std::int32_t tensor = pieces[k].tensor;
    double squares = 0, measured = 0;
    for (; k < pieces.size() && pieces[k].tensor == tensor; ++k)
      squares += pieces[k].squares, measured += pieces[k].measured;
    give(std::size_t(tensor), std::sqrt(squares), std::sqrt(measured));
  }
}

}  // namespace

Plan::Plan(int rule, std::vector<Tensor> ts, std::vector<Group> gs, double ema_decay)
    : tensors(std::move(ts)), groups(std::move(gs)), rule_(rule), ema_decay_(ema_decay) {
  for (Tensor& t : tensors) {
    t.start = total_;
    total_ += t.size;
  }
  std::size_t k = 0;
  for (std::int64_t at = 0; at < total_; at += chunk_size) {
    while (tensors[k].start + tensors[k].size <= at) ++k;
    first_tensor_.push_back(std::int32_t(k));
  }
  partial_.resize(first_tensor_.size());
  own_decay_ = own_decay(step_kernels().infos[rule_]);
  hyper_.resize(groups.size());
  if (step_kernels().rules[rule_].trust[0])
    for (std::size_t i = 0; i < tensors.size(); ++i)
      for (std::int64_t first = 0; first < tensors[i].size; first += chunk_size)
        pieces_.push_back({std::int32_t(i), first, 0, 0});
  stages_.resize(groups.size());
  coefficients_.resize(tensors.size());
}

std::int64_t Plan::useful_threads() const { return total_ / elements_per_thread; }

StepInfo Plan::step(const StepOptions& options, int threads) noexcept {
  StepInfo info;
  threads = int(std::clamp<std::int64_t>(useful_threads(), 1, threads));
  if (options.clip_norm >= 0 || options.skip_nonfinite || options.grad_norm) clip(options, threads, info);
  if (info.skipped) {
    if (options.zero_gradients) zero_gradients();
  } else {
    prepare(options, info.clip_coef / options.grad_scale, threads);
    if (!pieces_.empty()) measure(threads);
    sweep(threads);
    if (has_rows_) sweep_rows(threads);
    ++steps;
  }
  info.step = steps;
  return info;
}

/// Computes the norm and the clip coefficient, and decides whether the step is skipped. A step is skipped if its rule
/// would get a gradient that is inf or nan. If the caller gives a norm, only this norm decides. The reason is that all
/// processes that share a step must make the same decision.
void Plan::clip(const StepOptions& options, int threads, StepInfo& info) {
  const double own = options.grad_norm ? 0 : norm(threads);
  const double norm = options.grad_norm ? *options.grad_norm : own / options.grad_scale;
  info.grad_norm = norm;
  if (options.clip_norm >= 0) info.clip_coef = clip_coefficient(options.clip_norm, norm);
  if (options.skip_nonfinite)
    info.skipped = options.grad_norm ? !std::isfinite(norm) : overflows(own, info.clip_coef / options.grad_scale);
}

/// Computes everything that is constant over a group.
void Plan::prepare_group(std::size_t k, double rate, const StepOptions& options, double factor, int threads) {
  const Group& g = groups[k];
  stages_[k] = stages(g, rate, options, factor, ema_decay_);
  stages_[k].prefetch = total_ / threads > second_level_cache() / usual_bytes;
  std::copy(g.hyper, g.hyper + max_hyper, hyper_[k].begin());
  if (own_decay_ < 0) return;
  stages_[k].shrink = 1.0;
  hyper_[k][std::size_t(own_decay_)] = g.decay == Decay::decoupled ? options.decay_scale * g.weight_decay : 0.0;
}

/// Counts the step and computes everything that is constant over a group or a tensor. Tensors that have taken
/// equally many steps share their coefficients.
void Plan::prepare(const StepOptions& options, double factor, int threads) {
  const auto rate = [&](std::size_t group) { return options.rates ? options.rates[group] : groups[group].lr; };
  for (std::size_t k = 0; k < groups.size(); ++k) prepare_group(k, rate(k), options, factor, threads);
  const RuleKernels& rule = step_kernels().rules[rule_];
  const bool has_scalars = step_kernels().infos[rule_].scalar_count > 0;
  const Tensor* last = nullptr;
  double before[max_scalars] = {};  // the scalars, before this step, of the tensors that share the last coefficients
  int used = 0;
  bool has_rows = false;
  const bool has_norms = !pieces_.empty();  // each tensor then has its own coefficients
  for (Tensor& t : tensors) {
    if (!t.active) continue;
    has_rows = has_rows || t.rows;
    ++t.steps;
    if (!last || has_norms || !shares_coefficients(*last, t) || (has_scalars && !shares_scalars(before, t))) {
      const auto g = std::size_t(t.group);
      std::copy(t.scalars, t.scalars + max_scalars, before);
      rule.prepare[int(computed_in(t.dtype))](hyper_[g].data(), rate(g), t.steps, t.scalars,
                                              coefficients_[std::size_t(used++)]);
    } else if (has_scalars) {
      std::copy(last->scalars, last->scalars + max_scalars, t.scalars);
    }
    t.coefficients = used - 1;
    last = &t;
  }
  has_rows_ = has_rows;
}

/// Calls a kernel for the elements [first, first + n) of a tensor.
inline void Plan::run(SweepFn kernel, const FusedList& fused, const Tensor& t, std::int64_t first, std::int64_t n,
                      const Stages& stages) {
  if (t.in_place) return sweep_in_place(kernel, t, first, n, stages, coefficients_[std::size_t(t.coefficients)]);
  run_blocks(kernel, fused, t, first, n, stages);
}

/// The first pass of a rule with two passes. The bits of a tensor's norms do not depend on the other tensors or on the
/// number of threads. Stages that change the parameters before the rule are applied in this pass, and not in the
/// second.
void Plan::measure(int threads) {
  const RuleKernels& rule = step_kernels().rules[rule_];
  parallel_for(std::int64_t(pieces_.size()), threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t k = begin; k < end; ++k) {
      Piece& piece = pieces_[std::size_t(k)];
      const Tensor& t = tensors[std::size_t(piece.tensor)];
      if (!t.active) continue;
      const auto g = std::size_t(t.group);
      double lanes[2][norm_lanes] = {};
      Stages first = stages_[g];
      first.zero_gradient = false, first.sums = lanes[0];
      Tensor alone = t;
      alone.ema = nullptr;
      run(rule.measure[int(computed_in(t.dtype))][groups[g].variant], {}, alone, piece.first,
          std::min<std::int64_t>(chunk_size, t.size - piece.first), first);
      piece.squares = sum_of_lanes(lanes[0]), piece.measured = sum_of_lanes(lanes[1]);
    }
  });
  for_norms(pieces_, [&](std::size_t i, double norm, double measured) {
    const Tensor& t = tensors[i];
    if (t.active)
      rule.trust[int(computed_in(t.dtype))](norm, measured, t.size, coefficients_[std::size_t(t.coefficients)]);
  });
  for (Stages& s : stages_) s.subtract = 0.0;
}

/// Like `run`, but for tensors with streams of any format. If a format has blocks, the function updates all blocks that
/// begin in [first, first + n).
void Plan::run_blocks(SweepFn kernel, const FusedList& fused, const Tensor& t, std::int64_t first, std::int64_t n,
                      const Stages& stages) {
  std::int64_t stop = first + n;
  if (t.has_blocks()) first = next_block(first, t.size), stop = next_block(stop, t.size);
  if (first == stop) return;
  const Group& g = groups[std::size_t(t.group)];
  const Randomness random{seed, g.stochastic_parameters, g.stochastic_states};
  sweep_blocks(kernel, fused, t, first, stop - first, stages, coefficients_[std::size_t(t.coefficients)], random);
}

void Plan::sweep(int threads) {
  const RuleKernels& rule = step_kernels().rules[rule_];
  parallel_for(std::int64_t(first_tensor_.size()), threads, [&](std::int64_t begin, std::int64_t end) {
    for_runs(begin * chunk_size, end * chunk_size, [&](const Tensor& t, std::int64_t first, std::int64_t n) {
      const auto g = std::size_t(t.group);
      run(rule.sweep[int(computed_in(t.dtype))][groups[g].variant], rule.fused[groups[g].variant], t, first, n,
          stages_[g]);
    });
  });
}

void Plan::sweep_rows(int threads) {
  const RuleKernels& rule = step_kernels().rules[rule_];
  for (const Tensor& t : tensors) {
    if (!t.active || !t.rows) continue;
    const auto g = std::size_t(t.group);
    t.rows->sweep(rule.sweep[int(t.dtype)][groups[g].variant], t, stages_[g],
                  coefficients_[std::size_t(t.coefficients)], threads);
  }
}

void Plan::zero_gradients() {
  if (total_ > 0)
    for_runs(0, total_, [](const Tensor& t, std::int64_t first, std::int64_t n) { zero_gradient(t, first, n); });
}

}  // namespace fusedstep
