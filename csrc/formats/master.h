#pragma once

#include "formats/bf16.h"
#include "formats/f16.h"
#include "formats/format.h"

namespace fusedstep {
namespace {

/// The factors of the items in a block's sum. The sum shows whether other code has written the items. The factors are
/// odd, so that a change of one item always changes the sum.
struct Weights {
  alignas(64) std::int16_t of[scaled_together];
  constexpr Weights() : of() {
    std::uint32_t x = 1;
    for (std::int16_t& w : of) w = std::int16_t((x = x * 1664525u + 1013904223u) >> 16 | 1);
  }
};
constexpr Weights weights;

/// A bfloat16 parameter and the low 16 bits of its float32 value. The parameter is the float32 value, rounded to
/// nearest, ties away from zero. Let `low` be the low bits as a signed number. The bits of the float32 value are
/// exactly (bits of the parameter) 2^16 + low.
struct bf16_low {
  static std::uint32_t join(std::uint16_t high, std::int16_t low) {
    return (std::uint32_t(high) << 16) + std::uint32_t(std::int32_t(low));
  }
  template <class U>
  [[gnu::always_inline]] static U high(U u) {  // the result is in the lower half
    return (u + 0x8000) >> 16;
  }
  static std::int16_t low(std::uint32_t u) { return std::int16_t(u); }
};

}  // namespace
}  // namespace fusedstep
