#pragma once

#include "rules/rule.h"

namespace fusedstep {
namespace {

/// The last part of Adafactor (Shazeer and Stern 2018), as in torch. The argument g must be the direction, which is the
/// gradient divided by the square root of the second moment. The root mean square of the direction is limited to `d`.
/// The learning rate is proportional to the root mean square of the parameter, or to eps2 if that is larger.
struct adafactor {
  static constexpr const char* variants[] = {nullptr};
  static constexpr const char* hyper[] = {"eps2", "d", "weight_decay"};

  template <class T>
  struct coefficients {
    double eps2, d, rho;
    T rate, shrink;
  };

  template <class T>
  static coefficients<T> prepare(const double* h, double lr, std::int64_t t) {
    const double relative = 1.0 / root(double(t));
    return {h[0], h[1], lr < relative ? lr : relative, T(0), T(1.0 - lr * h[2])};
  }

  template <unsigned V, class T>
  static T measure(T, T g, T*, const coefficients<T>&) {
    return g;
  }

  template <class T>
  static void trust(coefficients<T>& c, double norm, double measured, std::int64_t count) {
    const double size = norm / root(double(count)), excess = measured / root(double(count)) / c.d;
    c.rate = T((size < c.eps2 ? c.eps2 : size) * c.rho / (excess < 1.0 ? 1.0 : excess));
  }

  template <unsigned V, class T>
  static T update(T p, T g, T*, const coefficients<T>& c) {
    return p * c.shrink - c.rate * g;
  }
};

}  // namespace
}  // namespace fusedstep
