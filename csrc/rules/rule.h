// What every update rule is made of. A rule is scalar arithmetic: it knows no pointers, threads, dtypes or
// instruction sets. The anonymous namespace keeps each instruction set's copy private to its object file.
#pragma once

#include <cstdint>

namespace fusedstep {

constexpr int max_states = 4;
constexpr int max_hyper = 8;
constexpr int max_variants = 3;
constexpr int max_scalars = 2;

/// A state array of a rule; it exists only in variants that contain all bits of `needs`. One that is never negative
/// has codes of its own in 8 bits.
struct StateName {
  const char* name;
  unsigned needs;
  bool positive = false;
};

/// A number that a rule keeps for each tensor and `prepare` takes one step on: `scalars` of a rule that has some.
struct ScalarName {
  const char* name;
  double initial;
};

namespace {

inline float root(float x) { return __builtin_sqrtf(x); }
inline double root(double x) { return __builtin_sqrt(x); }

/// -1, 0 or 1; 0 for nan.
template <class T>
inline T sign(T x) {
  return T(x > T(0)) - T(x < T(0));
}

/// Two numbers that a rule treats alike.
typedef double DoublePair __attribute__((vector_size(16)));

/// Both to the t-th power by repeated squaring: unlike libm's pow the same bits on every machine. Without a branch on
/// the bits of t, which no processor foresees.
inline DoublePair power(DoublePair x, std::int64_t t) {
  constexpr DoublePair one = {1.0, 1.0};
  DoublePair result = one;
  for (; t > 0; t >>= 1, x *= x) {
    const DoublePair factors[] = {one, x};
    result *= factors[t & 1];
  }
  return result;
}

}  // namespace
}  // namespace fusedstep
