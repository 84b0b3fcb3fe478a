#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// Gradient descent with momentum (Polyak 1964), dampening and Nesterov's momentum (Sutskever et al. 2013), as in
/// torch. The first step sets the momentum buffer to the gradient, without dampening.
struct sgd {
  enum : unsigned { momentum = 1, nesterov = 2 };
  static constexpr const char* variants[] = {"momentum", "nesterov"};
  static constexpr const char* hyper[] = {"momentum", "dampening"};
  static constexpr StateName states[] = {{"momentum_buffer", momentum}};

  template <class T>
  struct coefficients {
    Weight<T> mu, gain;
    T lr;
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t t) {
    const double mu = h[0], dampening = h[1];
    return {weight_unless_zero<T>(mu), Weight<T>(t == 1 ? 1.0 : 1.0 - dampening), T(lr)};
  }

  template <unsigned V, class T>
  static T update(T p, T g, T* state, const coefficients<T>& c) {
    T d = g;
    if constexpr (V & momentum) {
      T& buf = state[0];
      buf = c.mu * buf + c.gain * g;
      d = V & nesterov ? g + c.mu * buf : buf;
    }
    return p - c.lr * d;
  }
};

}  // namespace
}  // namespace fusedstep
