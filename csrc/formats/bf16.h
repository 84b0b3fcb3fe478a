#pragma once

#include "formats/bits.h"

namespace fusedstep {
namespace {

/// bfloat16: the upper 16 bits of a float32. A float32 is rounded to nearest with ties to even, or stochastically.
struct bf16 {
  using Item = std::uint16_t;
  using Number = float;
  static constexpr Item nan = 0x7fc0;

  static float decode(Item h) { return float_of(std::uint32_t(h) << 16); }

  /// The bits of a number or of a vector of numbers. Every nan becomes the same nan, 0x7fc00000. If a 16-bit number is
  /// added to these bits, the upper half stays a nan.
  template <class F>
  [[gnu::always_inline]] static auto with_one_nan(F x) {
    const auto u = bits_of(x);
    return x != x ? u - u + (std::uint32_t(nan) << 16) : u;
  }
  /// Rounded to nearest. The result is in the lower half.
  template <class U>
  [[gnu::always_inline]] static U rounded(U u) {
    return round_off(u, 16);
  }
  /// Rounded up with the probability (lower half of u) / 2^16. `noise` has 16 random bits. The result is in the lower
  /// half.
  template <class U>
  [[gnu::always_inline]] static U rounded(U u, U noise) {
    return (u + noise) >> 16;
  }

  static Item encode(float x) { return Item(rounded(with_one_nan(x))); }
  static Item encode(float x, std::uint32_t noise) { return Item(rounded(with_one_nan(x), noise)); }
};

}  // namespace
}  // namespace fusedstep
