// The bits of a float32 or of a vector of float32, as integers. Computations with integers give the same results on
// every instruction set.
#pragma once

#include <cstdint>

namespace fusedstep {
namespace {

/// X is a number or a vector. `bits` is a type of the same size with unsigned integers, and `floats` is a type of the
/// same size with floats.
template <class X>
struct As {
  typedef std::uint32_t bits __attribute__((vector_size(sizeof(X))));
  typedef float floats __attribute__((vector_size(sizeof(X))));
};
template <>
struct As<float> {
  using bits = std::uint32_t;
};
template <>
struct As<std::uint32_t> {
  using floats = float;
};

template <class X>
[[gnu::always_inline]] inline typename As<X>::bits bits_of(X x) {
  return __builtin_bit_cast(typename As<X>::bits, x);
}
template <class U>
[[gnu::always_inline]] inline typename As<U>::floats float_of(U bits) {
  return __builtin_bit_cast(typename As<U>::floats, bits);
}

/// Drops the lowest `count` bits and rounds to nearest, ties to even.
template <class U>
[[gnu::always_inline]] inline U round_off(U x, int count) {
  return (x + ((1u << (count - 1)) - 1) + ((x >> count) & 1)) >> count;
}

}  // namespace
}  // namespace fusedstep
