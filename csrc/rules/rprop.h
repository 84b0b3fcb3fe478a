#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// Rprop (Riedmiller and Braun 1993). Every element has its own step size. The step size grows if the sign of the
/// gradient is the same as in the previous step, and shrinks if the sign has changed. Only the sign of the gradient is
/// used. If the gradient is nan, the parameter becomes nan.
struct rprop {
  static constexpr const char* variants[] = {nullptr};
  static constexpr const char* hyper[] = {"eta1", "eta2", "step_size1", "step_size2"};
  static constexpr StateName states[] = {{"prev", 0}, {"step_size", 0}};

  template <class T>
  struct coefficients {
    T shrinking, growing, smallest, largest, start;
    T first;  // 1 in the first step, otherwise 0; not a bool, because a loop with a bool and numbers is not vectorised
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t t) {
    return {T(h[0]), T(h[1]), T(h[2]), T(h[3]), T(lr), T(t == 1)};
  }

  template <unsigned V, class T>
  static T update(T p, T g, T* state, const coefficients<T>& c) {
    T &prev = state[0], &step_size = state[1];
    const T turn = g * prev;
    const T factor = turn > T(0) ? c.growing : turn < T(0) ? c.shrinking : turn == T(0) ? T(1) : turn;
    const T wanted = (c.first != T(0) ? c.start : step_size) * factor;
    const T enough = wanted < c.smallest ? c.smallest : wanted;
    step_size = enough > c.largest ? c.largest : enough;
    prev = turn < T(0) ? T(0) : g;
    return p - step_size * sign(prev);
  }
};

}  // namespace
}  // namespace fusedstep
