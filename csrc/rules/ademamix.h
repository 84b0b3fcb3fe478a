#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// AdEMAMix (Pagliardini et al. 2024): Adam with a second, slow average of the gradients. The slow average has the
/// weight alpha and the decay beta3. Both grow during the first steps: alpha linearly, and beta3 such that the
/// half-life of the slow average grows linearly.
struct ademamix {
  static constexpr const char* variants[] = {nullptr};
  static constexpr const char* hyper[] = {"beta1", "beta2", "beta3", "eps", "alpha", "alpha_warmup", "beta3_warmup"};
  static constexpr StateName states[] = {{"exp_avg_fast", 0}, {"exp_avg_slow", 0}, {"exp_avg_sq", 0, true}};

  template <class T>
  struct coefficients {
    Ema<T> fast, slow;
    SquareEma<T> second;
    T lr, unbias, alpha, debias, eps;
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t t) {
    const double beta1 = h[0], beta2 = h[1], eps = h[3], alpha_warmup = h[5], beta3_warmup = h[6];
    double beta3 = h[2], alpha = h[4];
    if (double(t) < alpha_warmup) alpha *= double(t) / alpha_warmup;
    if (const double part = double(t) / beta3_warmup; part < 1.0 && beta3 > 0.0)  // a beta1 of 0 has no half-life
      beta3 = exp(1.0 / ((beta1 > 0.0 ? (1.0 - part) / log(beta1) : 0.0) + part / log(beta3)));
    const DoublePair unbiased = 1.0 - power(DoublePair{beta1, beta2}, t);
    return {Ema<T>(beta1),        Ema<T>(beta3), SquareEma<T>(beta2),        T(lr),
            T(1.0 / unbiased[0]), T(alpha),      T(1.0 / root(unbiased[1])), T(eps)};
  }

  template <unsigned V, class T>
  static T update(T p, T g, T* state, const coefficients<T>& c) {
    T &fast = state[0], &slow = state[1], &v = state[2];
    fast = c.fast(fast, g);
    slow = c.slow(slow, g);
    v = c.second(v, g);
    return p - c.lr * (fast * c.unbias + c.alpha * slow) / (root(v) * c.debias + c.eps);
  }
};

}  // namespace
}  // namespace fusedstep
