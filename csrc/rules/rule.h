// Common code of all update rules. A rule is scalar arithmetic: it knows no pointers, threads, dtypes or instruction
// sets. The anonymous namespace keeps each instruction set's copy inside its object file.
#pragma once

#include <cstddef>
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

/// A number as a rule computes with it if one of its weights is 0; see Weight. All other results are those of T.
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
/// The bits of a nan that stands for a weight of 0, and of the sign.
template <class Bits>
constexpr Bits zero_weight = sizeof(Bits) == 4 ? Bits(0x7fd5aa55) : Bits(0x7ffaaa5555aa55aa);
template <class Bits>
constexpr Bits sign_bit = Bits(1) << (8 * sizeof(Bits) - 1);

/// The factor of a term of a sum. A weight of 0 makes the term 0, even if x is inf or nan. Plain loops do not know
/// this, because it would cost them an operation for each weight. Instead, a weight of 0 is stored as a nan, and a rule
/// with such a weight computes with Careful numbers.
template <class T>
struct Weight {
  T value;
  Weight() = default;
  explicit Weight(double weight) : value(T(weight)) {
    using Bits = BitsOf<T>;
    if (value == T(0)) value = __builtin_bit_cast(T, Bits(__builtin_bit_cast(Bits, value) | zero_weight<Bits>));
  }
};

/// The weight of a momentum buffer. If it is exactly 0 there is no buffer: the weight is not used, and Careful numbers
/// are not needed.
template <class T>
inline Weight<T> weight_unless_zero(double weight) {
  return Weight<T>(weight == 0.0 ? 1.0 : weight);
}

template <class T>
inline T operator*(Weight<T> weight, T x) {
  return weight.value * x;
}

/// All bits of a number if the weight is not 0, and no bit if it is 0. It is a mask and not a comparison: if gcc sees a
/// comparison that is constant in the loop, it makes two loops and compiles the code after it twice.
template <class T>
inline BitsOf<T> mask_of(Weight<Careful<T>> weight) {
  using Bits = BitsOf<T>;
  const Bits bits = __builtin_bit_cast(Bits, weight.value.value);
  return Bits(-Bits((bits & ~sign_bit<Bits>) != zero_weight<Bits>));
}

template <class T>
inline Careful<T> operator*(Weight<Careful<T>> weight, Careful<T> x) {
  using Bits = BitsOf<T>;
  const Bits bits = __builtin_bit_cast(Bits, weight.value.value), mask = mask_of(weight);
  return Careful<T>(__builtin_bit_cast(T, Bits(bits & (mask | sign_bit<Bits>))) *
                    __builtin_bit_cast(T, Bits(__builtin_bit_cast(Bits, x.value) & mask)));
}

/// a, or b if the weight is 0. Plain loops are not used if it is 0.
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

/// A number of the size of a float, whose Weight is larger.
struct Probe {
  float value;
};
template <>
struct Weight<Probe> {
  Probe values[2];
};
/// True if a Weight is among the coefficients of a rule.
template <class Rule>
constexpr bool has_weights = sizeof(typename Rule::template coefficients<Probe>) >
                             sizeof(typename Rule::template coefficients<float>);

/// True if a weight of 0 is among these coefficients, which consist of numbers of type T.
template <class T, class Coefficients>
inline bool has_zero_weight(const Coefficients& c) {
  using Bits = BitsOf<T>;
  bool any = false;
  for (std::size_t at = 0; at + sizeof(Bits) <= sizeof c; at += sizeof(Bits)) {
    Bits bits;
    __builtin_memcpy(&bits, reinterpret_cast<const char*>(&c) + at, sizeof bits);
    any |= (bits & ~sign_bit<Bits>) == zero_weight<Bits>;
  }
  return any;
}

/// beta average + (1 - beta) x. The sum starts from the term with the larger weight, as torch's lerp does. So a
/// constant stays the same, and the result is exactly x if beta is 0 and exactly the average if beta is 1.
template <class T>
struct Ema {
  Weight<T> from_average;  // 1, or 0 if the sum starts from x
  Weight<T> step;
  Ema() = default;
  explicit Ema(double beta) : Ema(beta, 1.0 - beta < 0.5) {}
  T operator()(T average, T x) const { return unless_zero(from_average, average, x) + step * (x - average); }

 private:
  Ema(double beta, bool from) : from_average(from ? 1.0 : 0.0), step(from ? 1.0 - beta : -beta) {}
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
