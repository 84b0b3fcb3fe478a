#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// RAdam (Liu et al. 2020, algorithm 2): Adam with shorter steps if the variance of the adaptive learning rate is
/// large. In the first steps this variance is infinite. These steps use momentum without the second moment.
struct radam {
  static constexpr const char* variants[] = {nullptr};
  static constexpr const char* hyper[] = {"beta1", "beta2", "eps"};
  static constexpr StateName states[] = {{"exp_avg", 0}, {"exp_avg_sq", 0, true}};

  template <class T>
  struct coefficients {
    Ema<T> first;
    SquareEma<T> second;
    T step_size, eps;
    T adaptive;  // 0 or 1; a number, because loops with a bool and numbers are not vectorised
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t t) {
    const double beta1 = h[0], beta2 = h[1], eps = h[2];
    // real_power is exact enough for the subtraction in the next line
    const double second = real_power(beta2, double(t)), unbiased = 1.0 - second;
    const double longest = 2.0 / (1.0 - beta2) - 1.0, length = longest - 2.0 * double(t) * second / unbiased;
    const bool adaptive = length > 5.0;
    double size = lr / (1.0 - power(DoublePair{beta1, beta1}, t)[0]);
    if (adaptive)
      size *=
          root(unbiased * ((length - 4.0) * (length - 2.0) * longest) / ((longest - 4.0) * (longest - 2.0) * length));
    return {Ema<T>(beta1), SquareEma<T>(beta2), T(size), T(eps), T(adaptive)};
  }

  template <unsigned V, class T>
  static T update(T p, T g, T* state, const coefficients<T>& c) {
    T &m = state[0], &v = state[1];
    m = c.first(m, g);
    v = c.second(v, g);
    return p - c.step_size * m / (c.adaptive != T(0) ? root(v) + c.eps : T(1));
  }
};

}  // namespace
}  // namespace fusedstep
