#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// LARS (You et al. 2017, algorithm 1): gradient descent with momentum. The learning rate is proportional to
/// |p| / (|g| + weight_decay |p|), where |p| and |g| are the norms of the parameter and of its gradient.
struct lars {
  static constexpr const char* variants[] = {nullptr};
  static constexpr const char* hyper[] = {"momentum", "weight_decay", "trust_coefficient", "adapt"};
  static constexpr StateName states[] = {{"momentum_buffer", 0}};

  template <class T>
  struct coefficients {
    double lr, trust_coefficient, decay, adapt;
    Weight<T> mu;
    T rate, weight_decay;
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t) {
    return {lr, h[2], h[1], h[3], Weight<T>(h[0]), T(lr), T(h[1])};
  }

  template <unsigned V, class T>
  static T measure(T, T g, T*, const coefficients<T>&) {
    return g;
  }

  template <class T>
  static void trust(coefficients<T>& c, double norm, double measured, std::int64_t) {
    if (c.adapt != 0.0 && norm > 0.0 && measured > 0.0)
      c.rate = T(c.lr * (c.trust_coefficient * norm / (measured + c.decay * norm)));
  }

  template <unsigned V, class T>
  static T update(T p, T g, T* state, const coefficients<T>& c) {
    T& buf = state[0];
    buf = c.mu * buf + c.rate * (g + c.weight_decay * p);
    return p - buf;
  }
};

}  // namespace
}  // namespace fusedstep
