// Common code of all update rules. A rule computes the new value of one element of a parameter. Its code is compiled
// once for each instruction set. The functions are in an anonymous namespace, so that the linker does not merge the
// copies for different instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace fusedstep {

constexpr int max_states = 4;
constexpr int max_hyper = 8;
constexpr int max_variants = 3;
constexpr int max_scalars = 2;

/// A state array of a rule. A variant of a rule is a bit mask of the rule's options, for example of momentum. The state
/// exists only in variants that contain all bits of `needs`. `positive` is true if the state is never negative. Such a
/// state has its own 8-bit format, u8_positive.
struct StateName {
  const char* name;
  unsigned needs;
  bool positive = false;
};

/// A number that a rule keeps for each tensor. The rule's function `prepare` updates it in each step. A rule lists
/// these numbers in `scalars`.
struct ScalarName {
  const char* name;
  double initial;
};

namespace {

/// numeric_limits is not used, because its functions are not always inlined. If they are not, the linker merges their
/// copies for different instruction sets.
template <class T>
constexpr T largest_number = sizeof(T) == 4 ? T(0x1.fffffep127) : T(0x1.fffffffffffffp1023);

inline float root(float x) { return __builtin_sqrtf(x); }
inline double root(double x) { return __builtin_sqrt(x); }

/// -1, 0 or 1; 0 for nan.
inline float sign(float x) { return __builtin_islessgreater(x, 0.0f) ? __builtin_copysignf(1.0f, x) : 0.0f; }
inline double sign(double x) { return __builtin_islessgreater(x, 0.0) ? __builtin_copysign(1.0, x) : 0.0; }

/// The number type of a rule that has a Weight of 0. Without such a weight, the rule computes with T. The results
/// differ from those of T only in products with a Weight and in `unless_zero`.
template <class T>
struct Careful {
  T value;
  Careful() = default;
  template <class U>
  explicit constexpr Careful(U x) : value(T(x)) {}
  friend Careful operator-(Careful a) { return Careful(-a.value); }
  friend Careful operator+(Careful a, Careful b) { return Careful(a.value + b.value); }
  friend Careful operator-(Careful a, Careful b) { return Careful(a.value - b.value); }
  friend Careful operator*(Careful a, Careful b) { return Careful(a.value * b.value); }
  friend Careful operator/(Careful a, Careful b) { return Careful(a.value / b.value); }
  friend bool operator<(Careful a, Careful b) { return a.value < b.value; }
  friend bool operator>(Careful a, Careful b) { return a.value > b.value; }
  friend bool operator>=(Careful a, Careful b) { return a.value >= b.value; }
  friend bool operator==(Careful a, Careful b) { return a.value == b.value; }
};
template <class T>
inline T number(T x) {
  return x;
}
template <class T>
inline T number(Careful<T> x) {
  return x.value;
}
template <class T>
inline Careful<T> root(Careful<T> x) {
  return Careful<T>(root(x.value));
}
template <class T>
inline Careful<T> sign(Careful<T> x) {
  return Careful<T>(sign(x.value));
}

/// condition ? a : b, with copies of a and b, because gcc cannot vectorise loops that choose between addresses.
template <class T>
inline T choose(bool condition, T a, T b) {
  return condition ? T(a) : T(b);
}

template <class T>
using BitsOf = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
/// The bits of the nan that stands for a weight of 0.
template <class Bits>
constexpr Bits zero_weight = sizeof(Bits) == 4 ? Bits(0x7fd5aa55) : Bits(0x7ffaaa5555aa55aa);
template <class Bits>
constexpr Bits sign_bit = Bits(1) << (8 * sizeof(Bits) - 1);
/// True if these are the bits of a weight of 0, with either sign.
template <class Bits>
constexpr bool is_zero_weight(Bits bits) {
  return (bits & ~sign_bit<Bits>) == zero_weight<Bits>;
}

/// The factor of a term of a sum. If the weight is 0, the product weight * x is 0, even if x is inf or nan. A test for
/// 0 in every product would cost an operation for each weight and element. Therefore a weight of 0 is stored as a
/// special nan. A rule with such a weight computes with Careful numbers, whose products test for this nan.
template <class T>
struct Weight {
  T value;
  Weight() = default;
  explicit Weight(double weight) : value(T(weight)) {
    using Bits = BitsOf<T>;
    if (value == T(0)) value = __builtin_bit_cast(T, Bits(__builtin_bit_cast(Bits, value) | zero_weight<Bits>));
  }
};

/// The weight of a momentum buffer. If the weight is exactly 0, the rule has no buffer and does not use the weight.
/// Then the result is 1, so that Careful numbers are not needed.
template <class T>
inline Weight<T> weight_unless_zero(double weight) {
  return Weight<T>(weight == 0.0 ? 1.0 : weight);
}

template <class T>
inline T operator*(Weight<T> weight, T x) {
  return weight.value * x;
}

/// A mask: all bits are 1 if the weight is not 0, and all bits are 0 if the weight is 0. Callers use the mask instead
/// of a branch. If a loop has a branch on a value that the loop does not change, gcc makes two loops and compiles the
/// code after the branch twice.
template <class T>
inline BitsOf<T> mask_of(Weight<Careful<T>> weight) {
  using Bits = BitsOf<T>;
  return Bits(-Bits(!is_zero_weight(__builtin_bit_cast(Bits, weight.value.value))));
}

/// If the weight is 0, the mask replaces both factors by 0.
template <class T>
inline Careful<T> operator*(Weight<Careful<T>> weight, Careful<T> x) {
  using Bits = BitsOf<T>;
  const Bits bits = __builtin_bit_cast(Bits, weight.value.value), mask = mask_of(weight);
  return Careful<T>(__builtin_bit_cast(T, Bits(bits & (mask | sign_bit<Bits>))) *
                    __builtin_bit_cast(T, Bits(__builtin_bit_cast(Bits, x.value) & mask)));
}

/// b if the weight is 0, otherwise a. The first overload always gives a, because a rule with a weight of 0 computes
/// with Careful numbers.
template <class T>
inline T unless_zero(Weight<T>, T a, T) {
  return a;
}
template <class T>
inline Careful<T> unless_zero(Weight<Careful<T>> weight, Careful<T> a, Careful<T> b) {
  using Bits = BitsOf<T>;
  const Bits mask = mask_of(weight);
  return Careful<T>(__builtin_bit_cast(
      T, Bits((__builtin_bit_cast(Bits, a.value) & mask) | (__builtin_bit_cast(Bits, b.value) & ~mask))));
}

/// A number type for `has_weights`. Probe has the size of a float, but Weight<Probe> is larger than Weight<float>, by
/// more than the padding at the end of a struct.
struct Probe {
  float value;
};
template <>
struct Weight<Probe> {
  Probe values[8];
};
/// True if a Weight is among the coefficients of a rule. In this case, the coefficients for Probe are larger than those
/// for float.
template <class Rule>
constexpr bool has_weights = sizeof(typename Rule::template coefficients<Probe>) >
                             sizeof(typename Rule::template coefficients<float>);

/// True if one of these coefficients is a weight of 0. All coefficients are floating-point numbers.
template <class T, class Coefficients>
inline bool has_zero_weight(const Coefficients& c) {
  using Bits = BitsOf<T>;
  bool any = false;
  for (std::size_t at = 0; at + sizeof(Bits) <= sizeof c; at += sizeof(Bits)) {
    Bits bits;
    __builtin_memcpy(&bits, reinterpret_cast<const char*>(&c) + at, sizeof bits);
    any |= is_zero_weight(bits);
  }
  return any;
}

/// beta average + (1 - beta) x. As in torch's lerp, a multiple of x - average is added to the average or to x,
/// whichever has the larger weight. If x equals the average, the result is exactly x. If beta is 0, the result is
/// exactly x. If beta is 1, the result is exactly the average.
template <class T>
struct Ema {
  Weight<T> from_average;  // 1 if beta is above 1/2; otherwise 0, and therefore Careful numbers are used
  Weight<T> step;
  Ema() = default;
  explicit Ema(double beta) : Ema(beta, 1.0 - beta < 0.5) {}
  T operator()(T average, T x) const { return unless_zero(from_average, average, x) + step * (x - average); }

 private:
  Ema(double beta, bool from) : from_average(from ? 1.0 : 0.0), step(from ? 1.0 - beta : -beta) {}
};

/// beta average + (1 - beta) x^2. As in torch, the second term is computed as ((1 - beta) x) x. So this term can be
/// finite even if x^2 overflows.
template <class T>
struct SquareEma {
  Weight<T> beta;
  T rest;
  SquareEma() = default;
  explicit SquareEma(double b) : beta(b), rest(T(1.0 - b)) {}
  T operator()(T average, T x) const { return beta * average + (rest * x) * x; }
};

/// A vector of two numbers. Each operation applies to both.
typedef double DoublePair __attribute__((vector_size(16)));

/// Both numbers to the t-th power, by repeated squaring. The bits are the same on every machine, unlike those of libm's
/// pow. The code has no branch on the bits of t, because a CPU would predict it badly.
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
  const double bounded = x < -1000.0 ? -1000.0 : x > 1000.0 ? 1000.0 : x;  // outside this range exp is 0 or inf
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

/// A schedule-free rule averages the points z of all steps. The result is the weight of the newest z in the average
/// after step t: w_t / (w_1 + ... + w_t) with w_t = t^r lr_max^power. lr_max is the largest learning rate of steps
/// 1, ..., t. The function updates `scalars`, which are the sum of all w and lr_max.
inline double next_share(double lr, std::int64_t t, double r, double power, double* scalars) {
  double &sum = scalars[0], &lr_max = scalars[1];
  lr_max = lr > lr_max ? lr : lr_max;
  const double weight = real_power(double(t), r) * real_power(lr_max, power);
  sum += weight;
  return sum > 0.0 ? weight / sum : 0.0;
}

}  // namespace
}  // namespace fusedstep
