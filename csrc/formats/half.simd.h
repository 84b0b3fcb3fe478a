// The 16-bit floats: bfloat16 and float16 to and from float32, rounding to nearest even. In integers, so that every
// instruction set has the same bits; the compiler makes vectors of them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fusedstep {
namespace {

inline std::uint32_t bits_of(float x) { return __builtin_bit_cast(std::uint32_t, x); }
inline float float_of(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }

/// Drops the lowest `count` bits, rounding to nearest even.
inline std::uint32_t round_off(std::uint32_t x, int count) {
  return (x + ((1u << (count - 1)) - 1) + ((x >> count) & 1)) >> count;
}

struct bfloat16 {
  static float widen(std::uint16_t h) { return float_of(std::uint32_t(h) << 16); }
  static std::uint16_t narrow(float x) {
    const std::uint32_t u = bits_of(x);
    return std::uint16_t((u & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : round_off(u, 16));
  }
};

struct float16 {
  static constexpr std::uint32_t rebias = (127 - 15) << 23;
  static constexpr std::uint32_t smallest_normal = 0x38800000;  // 2^-14
  static constexpr std::uint32_t beyond = 0x47800000;           // 2^16
  static constexpr std::uint32_t half = 0x3f000000;             // 0.5: one unit in its last place is 2^-24, as here

  static float widen(std::uint16_t h) {
    const std::uint32_t sign = std::uint32_t(h & 0x8000) << 16, a = h & 0x7fff;
    const std::uint32_t normal = (a << 13) + rebias;
    const std::uint32_t small = bits_of(float(std::int32_t(a)) * 0x1p-24f);
    const std::uint32_t wide = a >= 0x7c00 ? normal + rebias : a < 0x400 ? small : normal;
    return float_of(sign | wide);
  }

  static std::uint16_t narrow(float x) {
    const std::uint32_t sign = bits_of(x) >> 16 & 0x8000, a = bits_of(x) & 0x7fffffff;
    const std::uint32_t normal = round_off(a - rebias, 13);
    const std::uint32_t small = bits_of(float_of(a) + 0.5f) - half;
    const std::uint32_t large = a > 0x7f800000 ? 0x7e00 : 0x7c00;  // nan or infinity
    return std::uint16_t(sign | (a >= beyond ? large : a < smallest_normal ? small : normal));
  }
};

template <class Half>
void widen(const std::uint16_t* in, float* out, std::ptrdiff_t n) {
  for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = Half::widen(in[i]);
}

template <class Half>
void narrow(const float* in, std::uint16_t* out, std::ptrdiff_t n) {
  for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = Half::narrow(in[i]);
}

}  // namespace
}  // namespace fusedstep
