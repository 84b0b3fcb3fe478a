#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// The last part of Muon (Jordan et al. 2024). The argument g must be the orthogonalised momentum, which is computed
/// elsewhere because it needs products of matrices. The variant `adamw` is AdamW, for parameters that are not weight
/// matrices of hidden layers. Its first moment is stored in momentum_buffer.
struct muon {
  enum : unsigned { adamw = 1 };
  static constexpr const char* variants[] = {"adamw"};
  static constexpr const char* hyper[] = {"beta1", "beta2", "adamw_eps"};
  static constexpr StateName states[] = {{"momentum_buffer", 0}, {"exp_avg_sq", adamw, true}};

  template <class T>
  struct coefficients {
    Ema<T> first;
    SquareEma<T> second;
    T lr, step_size, debias, eps;
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t t) {
    const double beta1 = h[0], beta2 = h[1], eps = h[2];
    const DoublePair unbiased = 1.0 - power(DoublePair{beta1, beta2}, t);
    const double step_size = lr / unbiased[0], debias = 1.0 / root(unbiased[1]);
    return {Ema<T>(beta1), SquareEma<T>(beta2), T(lr), T(step_size), T(debias), T(eps)};
  }

  template <unsigned V, class T>
  static T update(T p, T g, T* state, const coefficients<T>& c) {
    if constexpr (!(V & adamw)) return p - c.lr * g;
    T &m = state[0], &v = state[1];
    m = c.first(m, g);
    v = c.second(v, g);
    return p - c.step_size * m / (root(v) * c.debias + c.eps);
  }
};

}  // namespace
}  // namespace fusedstep
