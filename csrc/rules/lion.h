#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// Lion (Chen et al. 2023, algorithm 2). Every element changes by lr. The sign of the change is opposite to the sign of
/// an interpolation between the momentum and the gradient.
struct lion {
  static constexpr const char* variants[] = {nullptr};
  static constexpr const char* hyper[] = {"beta1", "beta2"};
  static constexpr StateName states[] = {{"exp_avg", 0}};

  template <class T>
  struct coefficients {
    Weight<T> beta1, beta2;
    T lr, one_minus_beta1, one_minus_beta2;
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t) {
    const double beta1 = h[0], beta2 = h[1];
    return {Weight<T>(beta1), Weight<T>(beta2), T(lr), T(1.0 - beta1), T(1.0 - beta2)};
  }

  template <unsigned V, class T>
  static T update(T p, T g, T* state, const coefficients<T>& c) {
    T& m = state[0];
    const T direction = sign(c.beta1 * m + c.one_minus_beta1 * g);
    m = c.beta2 * m + c.one_minus_beta2 * g;
    return p - c.lr * direction;
  }
};

}  // namespace
}  // namespace fusedstep
