#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// Adadelta (Zeiler 2012, algorithm 1). As in torch, the change of the parameter is multiplied by lr. Eps is inside
/// both square roots, as in the paper and in torch.
struct adadelta {
  static constexpr const char* variants[] = {nullptr};
  static constexpr const char* hyper[] = {"rho", "eps"};
  static constexpr StateName states[] = {{"square_avg", 0, true}, {"acc_delta", 0, true}};

  template <class T>
  struct coefficients {
    SquareEma<T> average;
    T lr, eps;
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t) {
    const double rho = h[0], eps = h[1];
    return {SquareEma<T>(rho), T(lr), T(eps)};
  }

  template <unsigned V, class T>
  static T update(T p, T g, T* state, const coefficients<T>& c) {
    T &square_avg = state[0], &acc_delta = state[1];
    square_avg = c.average(square_avg, g);
    const T delta = root(acc_delta + c.eps) / root(square_avg + c.eps) * g;
    acc_delta = c.average(acc_delta, delta);
    return p - c.lr * delta;
  }
};

}  // namespace
}  // namespace fusedstep
