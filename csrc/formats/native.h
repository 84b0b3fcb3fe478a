#pragma once

namespace fusedstep {
namespace {

/// float32 and float64, the types in which kernels compute: a number is stored as it is.
template <class T>
struct native {
  using Item = T;
  using Number = T;
  static T decode(T x) { return x; }
  static T encode(T x) { return x; }
};

}  // namespace
}  // namespace fusedstep
