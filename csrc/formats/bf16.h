#pragma once

#include "formats/bits.h"

namespace fusedstep {
namespace {

/// bfloat16: the upper half of a float32, rounded to nearest, ties to even, or stochastically.
struct bf16 {
  using Item = std::uint16_t;
  using Number = float;
  static constexpr Item nan = 0x7fc0;

  static float decode(Item h) { return float_of(std::uint32_t(h) << 16); }

  static Item encode(float x) {
    const std::uint32_t u = bits_of(x);
    return Item(x != x ? nan : round_off(u, 16));
  }

  /// Up with the probability that the dropped bits are of one unit.
  static Item encode(float x, std::uint32_t noise) {
    const std::uint32_t u = bits_of(x);
    return Item(x != x ? nan : (u + noise) >> 16);
  }
};

}  // namespace
}  // namespace fusedstep
