#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// Adam (Kingma and Ba 2015, algorithm 1). AMSGrad (Reddi et al. 2018) divides by the root of the largest second moment
/// of all steps. As in torch, second moments are compared before the bias correction. Eps has three variants.
/// eps_outside is added outside the square root, as in algorithm 1. eps_inside is added inside the square root. eps_hat
/// (section 2 of Kingma and Ba) is added outside the square root, but before the bias correction.
struct adam {
  enum : unsigned { amsgrad = 1 };
  static constexpr const char* variants[] = {"amsgrad"};
  static constexpr const char* hyper[] = {"beta1", "beta2", "eps_inside", "eps_outside", "eps_hat"};
  static constexpr StateName states[] = {{"exp_avg", 0}, {"exp_avg_sq", 0, true}, {"max_exp_avg_sq", amsgrad, true}};

  template <class T>
  struct coefficients {
    Ema<T> first;
    SquareEma<T> second;
    T step_size, debias, eps_inside, eps_outside;
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t t) {
    const double beta1 = h[0], beta2 = h[1], eps_inside = h[2], eps_outside = h[3], eps_hat = h[4];
    const DoublePair unbiased = 1.0 - power(DoublePair{beta1, beta2}, t);
    const double debias = 1.0 / root(unbiased[1]);
    return {Ema<T>(beta1), SquareEma<T>(beta2), T(lr / unbiased[0]),
            T(debias),     T(eps_inside),       T(eps_outside + eps_hat * debias)};
  }

  template <unsigned V, class T>
  static T update(T p, T g, T* state, const coefficients<T>& c) {
    T &m = state[0], &v = state[1], &v_max = state[2];
    m = c.first(m, g);
    v = c.second(v, g);
    T largest = v;
    if constexpr (V & amsgrad) largest = v_max = choose(v_max >= v, v_max, v);
    return p - c.step_size * m / (root(largest + c.eps_inside) * c.debias + c.eps_outside);
  }
};

}  // namespace
}  // namespace fusedstep
