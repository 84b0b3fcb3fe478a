// Logarithm and exponential. The functions of libm give different bits on different machines, so they are not used
// here. Instead, Taylor series are used, because their coefficients follow from a formula. Fitted polynomials would
// need a source for their coefficients. There are no branches, so that the compiler can vectorise the functions.
#pragma once

#include <cstdint>

namespace fusedstep {
namespace {

/// Constants of the floating-point format, and the numbers of terms of the series. With so many terms, the error of the
/// series is at most half a unit in the last place.
template <class T>
struct Format;
template <>
struct Format<float> {
  using Bits = std::uint32_t;
  static constexpr int log_terms = 5, sine_terms = 5;
  static constexpr int mantissa = 23;
  static constexpr Bits root_half = 0x3f3504f3u, integer = 0x4b000000u;  // sqrt(1/2), 2^23
};
template <>
struct Format<double> {
  using Bits = std::uint64_t;
  static constexpr int log_terms = 11, sine_terms = 9;
  static constexpr int mantissa = 52;
  static constexpr Bits root_half = 0x3fe6a09e667f3bcdu, integer = 0x4330000000000000u;  // sqrt(1/2), 2^52
};

inline float square_root(float x) { return __builtin_sqrtf(x); }
inline double square_root(double x) { return __builtin_sqrt(x); }

template <class To, class From>
inline To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof to);
  return to;
}

/// ln u for 2^-64 < u <= 1. Let u = m 2^-k with m in [sqrt(1/2), sqrt(2)). Then ln u = ln m - k ln 2, and
/// ln m = 2 artanh s with s = (m - 1) / (m + 1).
template <class T>
inline T logarithm(T u) {
  using F = Format<T>;
  using Bits = typename F::Bits;
  const Bits bits = bits_as<Bits>(u);
  const Bits e = (F::root_half + (Bits(64) << F::mantissa) - bits + ((Bits(1) << F::mantissa) - 1)) >> F::mantissa;
  const T m = bits_as<T>(bits + ((e - 64) << F::mantissa));
  const T exponent = bits_as<T>(F::integer + e) - bits_as<T>(F::integer + 64);
  const T s = (m - T(1)) / (m + T(1)), s2 = s * s;
  T series = T(1.0 / (2 * F::log_terms + 1));
#pragma GCC unroll 16
  for (int k = F::log_terms - 1; k >= 0; --k) series = series * s2 + T(1.0 / (2 * k + 1));
  return T(2) * s * series - exponent * T(0.693147180559945309417);
}

/// Constants of `exponential`, which splits its argument x into k ln 2 + r with |r| <= ln(2) / 2. With `terms` terms,
/// the error of the series of e^r is at most half a unit in the last place. ln 2 is the sum of ln2_high and ln2_low.
/// ln2_high has so few bits that k * ln2_high is exact for every k that occurs. If x is below `lowest`, e^x is 0.
template <class T>
struct Exponential;
template <>
struct Exponential<float> {
  static constexpr int terms = 8, bias = 127;
  static constexpr float ln2_high = 0x1.63p-1f, ln2_low = -0x1.bd0106p-13f, lowest = -104;
};
template <>
struct Exponential<double> {
  static constexpr int terms = 14, bias = 1023;
  static constexpr double ln2_high = 0x1.62e42fefa38p-1, ln2_low = 0x1.ef35793c7673p-45, lowest = -746;
};

/// A large number whose lowest bit has the value 1. The sum x + magnet is therefore x + magnet rounded to an integer,
/// and the lowest bits of the sum are x rounded to an integer.
template <class T>
constexpr T magnet = T(3ull << (Format<T>::mantissa - 1));

template <class T>
inline T rounded(T x) {
  const T shifted = x + magnet<T>;
  return shifted - magnet<T>;
}

/// 2^k, for an integer k such that 2^k is a normal number.
template <class T>
inline T power_of_two(T k) {
  using Bits = typename Format<T>::Bits;
  return bits_as<T>((bits_as<Bits>(k + magnet<T>) + Bits(Exponential<T>::bias)) << Format<T>::mantissa);
}

/// e^x for x <= 0. Let x = k ln 2 + r with |r| <= ln(2) / 2. Then e^x = 2^k e^r. e^r is multiplied by two powers of two
/// whose product is 2^k, because 2^k may be denormal.
template <class T>
inline T exponential(T x) {
  using E = Exponential<T>;
  x = x < E::lowest ? E::lowest : x;  // nan stays nan
  const T k = rounded(x * T(1.44269504088896340736));
  const T r = (x - k * E::ln2_high) - k * E::ln2_low;
  T series = T(1);
#pragma GCC unroll 16
  for (int i = E::terms; i >= 2; --i) series = T(1) + series * r * T(1.0 / i);
  series = T(1) + r * series;
  const T half = rounded(k * T(0.5));
  return series * power_of_two(half) * power_of_two(k - half);
}

}  // namespace
}  // namespace fusedstep
