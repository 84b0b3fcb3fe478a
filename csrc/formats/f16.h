#pragma once

#include "formats/bits.h"

namespace fusedstep {
namespace {

/// IEEE float16. A float32 is rounded to nearest with ties to even, or stochastically. A nan keeps its upper bits and
/// becomes a quiet nan, as with the CPU's conversion instruction.
struct f16 {
  using Item = std::uint16_t;
  using Number = float;

  static constexpr std::uint32_t rebias = (127 - 15) << 23;
  static constexpr std::uint32_t smallest_normal = 0x38800000;  // 2^-14
  static constexpr std::uint32_t beyond = 0x47800000;           // 2^16
  static constexpr std::uint32_t infinite = 0x7f800000, quiet = 0x00400000;
  // 0.5 as a float32. Its lowest bit has the value 2^-24, like the lowest bit of a denormal float16.
  static constexpr std::uint32_t half = 0x3f000000;

  /// The number or the vector of numbers whose bits are in the lower half of `h`.
  template <class U>
  [[gnu::always_inline]] static auto widened(U h) {
    const U sign = (h & 0x8000) << 16, a = h & 0x7fff;
    const U normal = (a << 13) + rebias, special = normal + rebias;
    const U small = bits_of(float_of(a + half) - 0.5f);
    const U finite = a < 0x400 ? small : normal;
    return float_of(sign | (a > 0x7c00 ? special | quiet : a == 0x7c00 ? special : finite));
  }

  static float decode(Item h) { return widened(std::uint32_t(h)); }

  static Item encode(float x) {
    const std::uint32_t a = bits_of(x) & 0x7fffffff;
    return put_together(x, round_off(a - rebias, 13), bits_of(float_of(a) + 0.5f) - half);
  }

  static Item encode(float x, std::uint32_t noise) {
    const std::uint32_t a = bits_of(x) & 0x7fffffff;
    const float units = a < smallest_normal ? float_of(a) * 0x1p24f + float(std::int32_t(noise)) * 0x1p-16f : 0.0f;
    return put_together(x, (a - rebias + (noise >> 3)) >> 13, std::uint32_t(std::int32_t(units)));
  }

 private:
  static Item put_together(float x, std::uint32_t normal, std::uint32_t small) {
    const std::uint32_t sign = bits_of(x) >> 16 & 0x8000, a = bits_of(x) & 0x7fffffff;
    const std::uint32_t large = a > infinite ? 0x7e00 | (a >> 13 & 0x3ff) : 0x7c00;
    return Item(sign | (a >= beyond ? large : a < smallest_normal ? small : normal));
  }
};

}  // namespace
}  // namespace fusedstep
