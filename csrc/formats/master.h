#pragma once

#include "formats/bf16.h"
#include "formats/f16.h"

namespace fusedstep {
namespace {

/// A bfloat16 parameter with the 16 bits of the float32 that it lacks. The parameter is the float32 rounded to nearest,
/// ties away from zero; the low bits, read as signed, lead back to it exactly.
struct bf16_low {
  static std::uint32_t join(std::uint16_t high, std::int16_t low) {
    return (std::uint32_t(high) << 16) + std::uint32_t(std::int32_t(low));
  }
  static std::uint32_t plain(float x) {  // with one nan, whose high half is nan
    const std::uint32_t u = bits_of(x);
    return (u & 0x7fffffff) > 0x7f800000 ? 0x7fc00000 : u;
  }
  static std::uint16_t high(std::uint32_t u) { return std::uint16_t((u + 0x8000) >> 16); }
  static std::int16_t low(std::uint32_t u) { return std::int16_t(u); }

  /// A term of the sum that shows whether a block was written by others.
  static std::uint32_t term(std::uint16_t high, std::uint32_t place) {
    const std::uint32_t x = (high | place << 16) * 0x9e3779b1u;
    return (x ^ (x >> 15)) * 0x85ebca6bu;
  }
};

}  // namespace
}  // namespace fusedstep
