#pragma once

#include "formats/bits.h"

namespace fusedstep {
namespace {

/// Codes of 8 bits, and one scale for each block. If `positive` is true, numbers are never negative, and the 8 bits are
/// an integer c from 0 to 255. Otherwise the highest bit is the sign, and the others are an integer c from 0 to 127.
/// With e = c / 8 rounded down, the absolute value of the number is
///   scale (2^e (1 + (c mod 8) / 8) - 1).
/// So the codes span 32 powers of two if `positive` is true, and otherwise 16. They are linear near 0 and logarithmic
/// for larger numbers. The scale is a power of two. It is chosen such that the largest number of the block has one of
/// the highest codes. If `positive` is true, a number above 0 never becomes 0, because rules divide by its root.
template <bool positive>
struct u8_codes {
  static constexpr std::uint32_t exponents = positive ? 32 : 16,
                                 mantissa = 20;  // number of bits of a float32 that are dropped
  static constexpr std::uint32_t one = 0x3f800000, infinite = 0x7f800000;
  // space for rounding up, and for the 1 that is added
  static constexpr std::uint32_t room = (1u << mantissa) - 1 + (1u << 10);
  // the exponent of the smallest scale; with smaller scales, numbers would become denormal
  static constexpr std::uint32_t lowest = 32;

  /// The bits of a block's scale. `largest` has the bits of the block's largest number. If that number is not finite,
  /// the scale is nan.
  static std::uint32_t scale(std::uint32_t largest) {
    if (largest >= infinite) return 0x7fc00000;
    const std::uint32_t exponent = (largest + room) >> 23;
    return (exponent < lowest + exponents - 1 ? lowest : exponent - (exponents - 1)) << 23;
  }

  /// Decodes a code or a vector of codes. The codes were widened as unsigned numbers if `positive` is true, else as
  /// signed numbers.
  template <class U>
  [[gnu::always_inline]] static auto decode(U code, float scale) {
    const U size = positive ? code << mantissa : (code << mantissa) & 0x07f00000;
    const auto number = (float_of(size + one) - 1.0f) * scale;
    if constexpr (positive)
      return number;
    else
      return float_of(bits_of(number) | (code << mantissa & 0x80000000));
  }

  /// `per_scale` is 1 / scale, which is exact. `noise` has 16 random bits, which are used if `stochastic` is true.
  template <bool stochastic, class F, class U>
  [[gnu::always_inline]] static U encode(F x, float per_scale, U noise) {
    const U u = bits_of(x) & 0x7fffffff;
    const U above = bits_of(float_of(u) * per_scale + 1.0f) - one;
    const U code = stochastic ? (above + (noise << (mantissa - 16))) >> mantissa : round_off(above, mantissa);
    if constexpr (positive) {
      const U least = (u + 0x7fffffff) >> 31;  // 1 if u is not 0
      return code > least ? code : least;
    } else {
      return code | (bits_of(x) >> 24 & 0x80);
    }
  }
};

}  // namespace
}  // namespace fusedstep
