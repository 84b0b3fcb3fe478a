#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// Averaged gradient descent (Polyak and Juditsky 1992), as in torch. `eta` is the learning rate of a step, and `mu` is
/// the weight of the updated parameter in the average. The stored values of both are for the next step. They are
/// rounded to float32, because torch stores them as float32.
struct asgd {
  static constexpr const char* variants[] = {nullptr};
  static constexpr const char* hyper[] = {"lambd", "alpha", "t0"};
  static constexpr StateName states[] = {{"ax", 0}};
  static constexpr ScalarName scalars[] = {{"eta", 0.0}, {"mu", 1.0}};

  template <class T>
  struct coefficients {
    T shrink, eta, mu;
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t t, double* kept) {
    const double lambd = h[0], alpha = h[1], t0 = h[2];
    const double eta = t == 1 ? float(lr) : kept[0], mu = kept[1];
    const double averaged = double(t) - t0;
    kept[0] = float(lr / real_power(1.0 + lambd * lr * double(t), alpha));
    kept[1] = float(1.0 / (averaged > 1.0 ? averaged : 1.0));
    return {T(1.0 - lambd * eta), T(eta), T(mu)};
  }

  template <unsigned V, class T>
  static T update(T p, T g, T* state, const coefficients<T>& c) {
    T& ax = state[0];
    const T updated = p * c.shrink - c.eta * g;
    ax = c.mu == T(1) ? updated : ax + c.mu * (updated - ax);
    return updated;
  }
};

}  // namespace
}  // namespace fusedstep
