#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// Gradient descent without a learning rate schedule (Defazio et al. 2024, algorithm 1). The method has three points:
/// x, y and z. The parameters are y, and gradients are computed at y. Each step moves z against the gradient. x is the
/// average of z, and is used for evaluation. y is an interpolation between z and x.
struct sgd_schedule_free {
  static constexpr const char* variants[] = {nullptr};
  static constexpr const char* hyper[] = {"momentum", "weight_decay", "warmup_steps", "r", "weight_lr_power"};
  static constexpr StateName states[] = {{"z", 0}};
  static constexpr ScalarName scalars[] = {{"weight_sum", 0.0}, {"lr_max", 0.0}};

  template <class T>
  struct coefficients {
    T lr, share, rest, weight_decay;
    T first;  // 1 in the first step, otherwise 0; not a bool, because a loop with a bool and numbers is not vectorised
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t t, double* kept) {
    const double beta = h[0], weight_decay = h[1], warmup_steps = h[2], r = h[3], weight_lr_power = h[4];
    if (double(t) < warmup_steps) lr *= double(t) / warmup_steps;
    const double share = next_share(lr, t, r, weight_lr_power, kept);
    return {T(lr), T(share), T(lr * (1.0 - beta * (1.0 - share))), T(weight_decay), T(t == 1)};
  }

  template <unsigned V, class T>
  static T update(T y, T g, T* state, const coefficients<T>& c) {
    const T z = c.first != T(0) ? y : state[0], d = g + c.weight_decay * y;
    state[0] = z - c.lr * d;
    return y - c.share * (y - z) - c.rest * d;
  }
};

}  // namespace
}  // namespace fusedstep
