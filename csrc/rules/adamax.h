#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// Adamax (Kingma and Ba 2015, algorithm 2): Adam with the infinity norm of the past gradients. As in torch, eps is
/// added to the absolute value of each gradient.
struct adamax {
  static constexpr const char* variants[] = {nullptr};
  static constexpr const char* hyper[] = {"beta1", "beta2", "eps"};
  static constexpr StateName states[] = {{"exp_avg", 0}, {"exp_inf", 0, true}};

  template <class T>
  struct coefficients {
    Ema<T> first;
    Weight<T> beta2;
    T step_size, eps;
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t t) {
    const double beta1 = h[0], beta2 = h[1], eps = h[2];
    return {Ema<T>(beta1), Weight<T>(beta2), T(lr / (1.0 - power(DoublePair{beta1, beta1}, t)[0])), T(eps)};
  }

  template <unsigned V, class T>
  static T update(T p, T g, T* state, const coefficients<T>& c) {
    T &m = state[0], &u = state[1];
    m = c.first(m, g);
    const T before = c.beta2 * u, now = (g < T(0) ? -g : g) + c.eps;
    u = choose(now > before || now != now, now, before);  // nan stays nan
    return p - c.step_size * m / u;
  }
};

}  // namespace
}  // namespace fusedstep
