// The bits of a float32. In integers every instruction set has the same bits; the compiler makes vectors of them.
#pragma once

#include <cstdint>

namespace fusedstep {
namespace {

inline std::uint32_t bits_of(float x) { return __builtin_bit_cast(std::uint32_t, x); }
inline float float_of(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }

/// Drops the lowest `count` bits, rounding to nearest even.
inline std::uint32_t round_off(std::uint32_t x, int count) {
  return (x + ((1u << (count - 1)) - 1) + ((x >> count) & 1)) >> count;
}

}  // namespace
}  // namespace fusedstep
