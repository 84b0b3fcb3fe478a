#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// LAMB (You et al. 2020, algorithm 2). The direction is that of Adam plus weight_decay times the parameter. The
/// direction is scaled to the norm of the parameter.
struct lamb {
  static constexpr const char* variants[] = {nullptr};
  static constexpr const char* hyper[] = {"beta1", "beta2", "eps", "weight_decay", "adapt"};
  static constexpr StateName states[] = {{"exp_avg", 0}, {"exp_avg_sq", 0, true}};

  template <class T>
  struct coefficients {
    double lr, adapt;
    Ema<T> first;
    SquareEma<T> second;
    T rate, unbias, eps, weight_decay, debias;
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t t) {
    const DoublePair unbiased = 1.0 - power(DoublePair{h[0], h[1]}, t);
    const double unbias = 1.0 / unbiased[0], debias = 1.0 / root(unbiased[1]);
    return {lr, h[4], Ema<T>(h[0]), SquareEma<T>(h[1]), T(lr), T(unbias), T(h[2]), T(h[3]), T(debias)};
  }

  template <class T>
  static T direction(T p, const T* state, const coefficients<T>& c) {
    return state[0] * c.unbias / (root(state[1]) * c.debias + c.eps) + c.weight_decay * p;
  }

  template <unsigned V, class T>
  static T measure(T p, T g, T* state, const coefficients<T>& c) {
    state[0] = c.first(state[0], g);
    state[1] = c.second(state[1], g);
    return direction(p, state, c);
  }

  template <class T>
  static void trust(coefficients<T>& c, double norm, double measured, std::int64_t) {
    c.rate = T(c.adapt != 0.0 && norm > 0.0 && measured > 0.0 ? c.lr * (norm / measured) : c.lr);
  }

  template <unsigned V, class T>
  static T update(T p, T, T* state, const coefficients<T>& c) {
    return p - c.rate * direction(p, state, c);
  }
};

}  // namespace
}  // namespace fusedstep
