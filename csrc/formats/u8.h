#pragma once

#include "formats/bits.h"

namespace fusedstep {
namespace {

/// 8 bits and a scale for each block: code c > 0 is scale 2^(c / 8) (1 + c mod 8 / 8), and code 0 is 0. Of numbers that
/// are never negative the codes reach over 32 powers of two; else over 16, and the eighth bit is the sign. The scale is
/// the power of two with which the largest number of the block, rounded up, has the last exponent. A positive number
/// never becomes 0 where all are positive: what is divided by its root would be infinite.
template <bool positive>
struct u8_codes {
  static constexpr std::uint32_t exponents = positive ? 32 : 16, mantissa = 20;  // the bits of a float32 that are dropped
  static constexpr std::uint32_t one_up = (1u << mantissa) - 1, infinite = 0x7f800000;
  static constexpr std::uint32_t lowest = 32;  // exponent of a scale: smaller ones would make denormal numbers

  /// The bits of the scale of a block whose largest number has these bits; nan if it is not finite.
  static std::uint32_t scale(std::uint32_t largest) {
    if (largest >= infinite) return 0x7fc00000;
    const std::uint32_t exponent = (largest + one_up) >> 23;
    return (exponent < lowest + exponents - 1 ? lowest : exponent - (exponents - 1)) << 23;
  }

  static float decode(std::uint32_t code, float scale) {
    const std::uint32_t size = positive ? code : code & 0x7f;
    const std::uint32_t bits = bits_of(scale * float_of(0x3f800000 + (size << mantissa)));
    return float_of(size == 0 ? 0 : bits | (positive ? 0 : (code & 0x80) << 24));
  }

  /// What encoding needs of a block.
  struct Block {
    std::uint32_t base, first;  // bits of the scale and of code 1
    float per_first;            // 2^16 / code 1
  };
  static Block block(std::uint32_t scale) {
    const std::uint32_t first = scale + (1u << mantissa);
    return {scale, first, 65536.0f / float_of(first)};
  }

  /// `noise`: 16 random bits, or none for rounding to nearest.
  template <bool stochastic>
  static std::uint32_t encode(float x, std::uint32_t noise, const Block& b) {
    const std::uint32_t u = bits_of(x) & 0x7fffffff, above = u - b.base;
    const std::uint32_t code = stochastic ? (above + (noise << (mantissa - 16))) >> mantissa : round_off(above, mantissa);
    const float part = float_of(u) * b.per_first;  // of code 1, in units of 2^-16
    const std::uint32_t small = positive ? u != 0 : part > (stochastic ? float(std::int32_t(noise)) : 32767.5f);
    const std::uint32_t size = u < b.first ? small : code;
    return positive || size == 0 ? size : size | (bits_of(x) >> 24 & 0x80);
  }
};

}  // namespace
}  // namespace fusedstep
