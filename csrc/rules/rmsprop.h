#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// RMSprop (Tieleman and Hinton 2012). The variant `centered` (Graves 2013) divides by the root of a variance: the
/// average of the squared gradients minus the square of the average gradient. Rounding can make the variance negative
/// by a unit in the last place. The variance is then set to 0, although torch's result is nan. If the average of the
/// squared gradients overflows, nothing is subtracted from it.
struct rmsprop {
  enum : unsigned { momentum = 1, centered = 2 };
  static constexpr const char* variants[] = {"momentum", "centered"};
  static constexpr const char* hyper[] = {"alpha", "momentum", "eps_inside", "eps_outside"};
  static constexpr StateName states[] = {
      {"square_avg", 0, true}, {"momentum_buffer", momentum}, {"grad_avg", centered}};

  template <class T>
  struct coefficients {
    SquareEma<T> squares;
    Ema<T> mean;
    Weight<T> mu;
    T lr, eps_inside, eps_outside;
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t) {
    const double alpha = h[0], mu = h[1], eps_inside = h[2], eps_outside = h[3];
    return {SquareEma<T>(alpha), Ema<T>(alpha), weight_unless_zero<T>(mu), T(lr), T(eps_inside), T(eps_outside)};
  }

  template <unsigned V, class T>
  static T update(T p, T g, T* state, const coefficients<T>& c) {
    T &square_avg = state[0], &buf = state[1], &grad_avg = state[2];
    square_avg = c.squares(square_avg, g);
    T variance = square_avg;
    if constexpr (V & centered) {
      grad_avg = c.mean(grad_avg, g);
      variance = square_avg - grad_avg * grad_avg;
      variance = choose(square_avg > largest_number<T>, square_avg, variance);
      variance = choose(variance < T(0), T(0), variance);
    }
    T d = g / (root(variance + c.eps_inside) + c.eps_outside);
    if constexpr (V & momentum) d = buf = c.mu * buf + d;
    return p - c.lr * d;
  }
};

}  // namespace
}  // namespace fusedstep
