#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// Adagrad (Duchi et al. 2011). Eps is outside the square root as in torch, or inside the square root.
struct adagrad {
  static constexpr const char* variants[] = {nullptr};
  static constexpr const char* hyper[] = {"lr_decay", "eps_inside", "eps_outside"};
  static constexpr StateName states[] = {{"sum", 0, true}};

  template <class T>
  struct coefficients {
    T lr, eps_inside, eps_outside;
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t t) {
    const double lr_decay = h[0], eps_inside = h[1], eps_outside = h[2];
    return {T(lr / (1.0 + double(t - 1) * lr_decay)), T(eps_inside), T(eps_outside)};
  }

  template <unsigned V, class T>
  static T update(T p, T g, T* state, const coefficients<T>& c) {
    T& sum = state[0];
    sum = sum + g * g;
    return p - c.lr * g / (root(sum + c.eps_inside) + c.eps_outside);
  }
};

}  // namespace
}  // namespace fusedstep
