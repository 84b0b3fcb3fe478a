// What every update rule is made of. A rule is scalar arithmetic: it knows no pointers, threads, dtypes or
// instruction sets. The anonymous namespace keeps each instruction set's copy private to its object file.
#pragma once

#include <cstdint>

namespace fusedstep {

constexpr int max_states = 4;
constexpr int max_hyper = 8;
constexpr int max_variants = 3;

/// A state array of a rule; it exists only in variants that contain all bits of `needs`.
struct StateName {
  const char* name;
  unsigned needs;
};

namespace {

inline float root(float x) { return __builtin_sqrtf(x); }
inline double root(double x) { return __builtin_sqrt(x); }

/// -1, 0 or 1; 0 for nan.
template <class T>
inline T sign(T x) {
  return T(x > T(0)) - T(x < T(0));
}

/// x to the t-th power by repeated squaring: unlike libm's pow the same bits on every machine.
inline double power(double x, std::int64_t t) {
  double result = 1.0;
  for (; t > 0; t >>= 1, x *= x) result *= t & 1 ? x : 1.0;
  return result;
}

}  // namespace
}  // namespace fusedstep
