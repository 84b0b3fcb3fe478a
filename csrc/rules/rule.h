// Common code of all update rules. A rule is scalar arithmetic: it knows no pointers, threads, dtypes or instruction
// sets. The anonymous namespace keeps each instruction set's copy inside its object file.
#pragma once

#include <cstdint>
#include <type_traits>

namespace fusedstep {

constexpr int max_states = 4;
constexpr int max_hyper = 8;
constexpr int max_variants = 3;
constexpr int max_scalars = 2;

/// A state array of a rule. It exists only in variants that contain all bits of `needs`. With 8 bits, a state that is
/// never negative has its own codes.
struct StateName {
  const char* name;
  unsigned needs;
  bool positive = false;
};

/// A number that a rule keeps for each tensor, and that `prepare` moves one step on. A rule lists them in `scalars`.
struct ScalarName {
  const char* name;
  double initial;
};

namespace {

/// numeric_limits is not used: without optimisation it is a function that the linker merges across levels.
template <class T>
constexpr T largest_number = sizeof(T) == 4 ? T(0x1.fffffep127) : T(0x1.fffffffffffffp1023);

inline float root(float x) { return __builtin_sqrtf(x); }
inline double root(double x) { return __builtin_sqrt(x); }

/// -1, 0 or 1; 0 for nan.
inline float sign(float x) { return __builtin_islessgreater(x, 0.0f) ? __builtin_copysignf(1.0f, x) : 0.0f; }
inline double sign(double x) { return __builtin_islessgreater(x, 0.0) ? __builtin_copysign(1.0, x) : 0.0; }

/// The factor of a term of a sum. A weight of 0 makes the term 0, even if x is inf or nan. It is a mask and not a
/// comparison: if gcc sees a comparison that is constant in the loop, it makes two loops and compiles the code after it
/// twice.
template <class T>
struct Weight {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  T value;
  Bits mask;
  Weight() = default;
  explicit Weight(double weight) : value(T(weight)), mask(value == T(0) ? Bits(0) : ~Bits(0)) {}
};

template <class T>
inline T operator*(Weight<T> weight, T x) {
  using Bits = typename Weight<T>::Bits;
  return weight.value * __builtin_bit_cast(T, Bits(__builtin_bit_cast(Bits, x) & weight.mask));
}

/// beta average + (1 - beta) x. It starts from the term with the larger weight, as torch's lerp does. So a constant
/// stays the same, and the result is exactly x if beta is 0 and exactly the average if beta is 1.
template <class T>
struct Ema {
  T from_x;  // 0 or 1, as a number, because loops over numbers cannot be vectorised with bool
  Weight<T> step;
  Ema() = default;
  explicit Ema(double beta) : from_x(T(1.0 - beta >= 0.5)), step(from_x != T(0) ? -beta : 1.0 - beta) {}
  T operator()(T average, T x) const { return (from_x != T(0) ? x : average) + step * (x - average); }
};

/// beta average + (1 - beta) x^2. The weight is multiplied by x first, as in torch, so that the result can be finite
/// where x^2 is not.
template <class T>
struct SquareEma {
  Weight<T> beta;
  T rest;
  SquareEma() = default;
  explicit SquareEma(double b) : beta(b), rest(T(1.0 - b)) {}
  T operator()(T average, T x) const { return beta * average + (rest * x) * x; }
};

/// Two numbers with the same operations.
typedef double DoublePair __attribute__((vector_size(16)));

/// Both numbers to the t-th power, by repeated squaring. The bits are the same on every machine, unlike those of libm's
/// pow. There is no branch on the bits of t, because no CPU can predict it.
inline DoublePair power(DoublePair x, std::int64_t t) {
  constexpr DoublePair one = {1.0, 1.0};
  DoublePair result = one;
  for (; t > 0; t >>= 1, x *= x) {
    const DoublePair factors[] = {one, x};
    result *= factors[t & 1];
  }
  return result;
}

/// Logarithm, exponential and real powers, by their series. The bits are the same on every machine, unlike those of
/// libm. Call them once per tensor, not per element.
inline double log(double x) {
  int exponent;
  double m = __builtin_frexp(x, &exponent);
  if (m < 0x1.6a09e667f3bcdp-1) m *= 2, --exponent;  // now sqrt(1/2) <= m < sqrt(2)
  const double s = (m - 1.0) / (m + 1.0), s2 = s * s;
  double series = 0;
  for (int k = 23; k > 0; k -= 2) series = series * s2 + 1.0 / k;
  return exponent * 0x1.62e42fefa39efp-1 + 2.0 * s * series;
}

inline double exp(double x) {
  const double bounded = x < -1000.0 ? -1000.0 : x > 1000.0 ? 1000.0 : x;  // beyond these the result is 0 or inf
  const double k = __builtin_floor(bounded / 0x1.62e42fefa39efp-1 + 0.5);
  const double rest = bounded - k * 0x1.62e42feep-1 - k * 0x1.a39ef35793c76p-33;  // ln 2 in two parts
  double series = 1.0;
  for (int n = 15; n > 0; --n) series = 1.0 + rest / n * series;
  return __builtin_ldexp(series, int(k));
}

/// x^y for x >= 0.
inline double real_power(double x, double y) {
  if (x == 0.0) return y == 0.0 ? 1.0 : 0.0;
  return exp(y * log(x));
}

/// The weight of z in the t-th average of a schedule-free rule: t^r lr_max^power over the sum of all such numbers.
/// `scalars` are that sum and the largest rate so far.
inline double next_share(double lr, std::int64_t t, double r, double power, double* scalars) {
  double &sum = scalars[0], &lr_max = scalars[1];
  lr_max = lr > lr_max ? lr : lr_max;
  const double weight = real_power(double(t), r) * real_power(lr_max, power);
  sum += weight;
  return sum > 0.0 ? weight / sum : 0.0;
}

}  // namespace
}  // namespace fusedstep
