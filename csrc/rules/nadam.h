#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// NAdam (Dozat 2016): Adam with Nesterov's momentum. The weight mu_t of the momentum grows with the number t of the
/// step. The product of all mu_t is rounded to float32, because torch stores it as float32.
struct nadam {
  static constexpr const char* variants[] = {nullptr};
  static constexpr const char* hyper[] = {"beta1", "beta2", "eps", "momentum_decay"};
  static constexpr StateName states[] = {{"exp_avg", 0}, {"exp_avg_sq", 0, true}};
  static constexpr ScalarName scalars[] = {{"mu_product", 1.0}};

  template <class T>
  struct coefficients {
    Ema<T> first;
    SquareEma<T> second;
    T gradient_size, momentum_size, debias, eps;
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t t, double* kept) {
    const double beta1 = h[0], beta2 = h[1], eps = h[2], momentum_decay = h[3];
    const auto mu_at = [&](std::int64_t k) {
      return beta1 * (1.0 - 0.5 * real_power(0.96, double(k) * momentum_decay));
    };
    const double mu = mu_at(t), next = mu_at(t + 1);
    const double product = kept[0] = float(kept[0]) * float(mu);
    return {Ema<T>(beta1),
            SquareEma<T>(beta2),
            T(lr * (1.0 - mu) / (1.0 - product)),
            T(lr * next / (1.0 - product * next)),
            T(1.0 / root(1.0 - power(DoublePair{beta2, beta2}, t)[0])),
            T(eps)};
  }

  template <unsigned V, class T>
  static T update(T p, T g, T* state, const coefficients<T>& c) {
    T &m = state[0], &v = state[1];
    m = c.first(m, g);
    v = c.second(v, g);
    const T size = root(v) * c.debias + c.eps;
    return p - c.gradient_size * g / size - c.momentum_size * m / size;  // rounded twice, as torch does
  }
};

}  // namespace
}  // namespace fusedstep
