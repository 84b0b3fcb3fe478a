#pragma once

#include "formats/bits.h"

namespace fusedstep {
namespace {

/// 8 bits and a scale for each block: code c is scale (2^(c / 8) (1 + c mod 8 / 8) - 1), which is linear near 0 and
/// logarithmic beyond. Of numbers that are never negative the codes reach over 32 powers of two; else over 16, and the
/// eighth bit is the sign. The scale is the power of two with which the largest number of the block has one of the
/// highest codes. A positive number never becomes 0 where all are positive: what is divided by its root would be
/// infinite.
template <bool positive>
struct u8_codes {
  static constexpr std::uint32_t exponents = positive ? 32 : 16,
                                 mantissa = 20;  // the bits of a float32 that are dropped
  static constexpr std::uint32_t one = 0x3f800000, infinite = 0x7f800000;
  static constexpr std::uint32_t room = (1u << mantissa) - 1 + (1u << 10);  // for rounding up, and for the 1
  static constexpr std::uint32_t lowest = 32;  // exponent of a scale: smaller ones would make denormal numbers

  /// The bits of the scale of a block whose largest number has these bits; nan if it is not finite.
  static std::uint32_t scale(std::uint32_t largest) {
    if (largest >= infinite) return 0x7fc00000;
    const std::uint32_t exponent = (largest + room) >> 23;
    return (exponent < lowest + exponents - 1 ? lowest : exponent - (exponents - 1)) << 23;
  }

  static float decode(std::uint32_t code, float scale) {
    const std::uint32_t size = (code << mantissa) & (positive ? 0x0ff00000 : 0x07f00000);
    const float number = (float_of(one + size) - 1.0f) * scale;
    return positive ? number : float_of(bits_of(number) | (code << 24 & 0x80000000));
  }

  /// `per_scale`: 1 / scale, which is exact; `noise`: 16 random bits, unless it is rounded to nearest.
  template <bool stochastic>
  static std::uint32_t encode(float x, float per_scale, std::uint32_t noise) {
    const std::uint32_t u = bits_of(x) & 0x7fffffff;
    const std::uint32_t above = bits_of(float_of(u) * per_scale + 1.0f) - one;
    const std::uint32_t code =
        stochastic ? (above + (noise << (mantissa - 16))) >> mantissa : round_off(above, mantissa);
    if (positive) return code | (code == 0 && u != 0);
    return code | (bits_of(x) >> 24 & 0x80);
  }
};

}  // namespace
}  // namespace fusedstep
