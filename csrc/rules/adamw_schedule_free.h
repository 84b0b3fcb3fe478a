#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// AdamW without a learning rate schedule (Defazio et al. 2024, appendix E). sgd_schedule_free.h explains y, z and x.
/// The gradient is divided by the square root of its second moment. The weight decay is computed from y.
struct adamw_schedule_free {
  static constexpr const char* variants[] = {nullptr};
  static constexpr const char* hyper[] = {"beta1", "beta2",          "eps", "weight_decay", "warmup_steps",
                                          "r",     "weight_lr_power"};
  static constexpr StateName states[] = {{"z", 0}, {"exp_avg_sq", 0, true}};
  static constexpr ScalarName scalars[] = {{"weight_sum", 0.0}, {"lr_max", 0.0}};

  template <class T>
  struct coefficients {
    SquareEma<T> second;
    T lr, share, rest, debias, eps, weight_decay;
    T first;  // 0 or 1; a number, because loops with a bool and numbers are not vectorised
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t t, double* kept) {
    const double beta1 = h[0], beta2 = h[1], eps = h[2], weight_decay = h[3], warmup_steps = h[4], r = h[5];
    if (double(t) < warmup_steps) lr *= double(t) / warmup_steps;
    const double share = next_share(lr, t, r, h[6], kept);
    const double rest = lr * (1.0 - beta1 * (1.0 - share));
    const double debias = 1.0 / root(1.0 - power(DoublePair{beta2, beta2}, t)[0]);
    return {SquareEma<T>(beta2), T(lr), T(share), T(rest), T(debias), T(eps), T(weight_decay), T(t == 1)};
  }

  template <unsigned V, class T>
  static T update(T y, T g, T* state, const coefficients<T>& c) {
    const T z = choose(c.first != T(0), y, state[0]);
    T& v = state[1];
    v = c.second(v, g);
    const T d = g / (root(v) * c.debias + c.eps) + c.weight_decay * y;
    state[0] = z - c.lr * d;
    return y - c.share * (y - z) - c.rest * d;
  }
};

}  // namespace
}  // namespace fusedstep
