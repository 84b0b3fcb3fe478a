// The first pass of rules whose step depends on norms of the whole tensor.
#pragma once

#include "step/norm.simd.h"

namespace fusedstep {
namespace {

template <class Rule>
constexpr bool has_norms = requires {
  &Rule::template trust<float>;
};

/// Computes the rule's `measure` of n elements, which may also update its states.
template <class Rule, unsigned V, class T>
inline void measure_all(const T* p, const T* g, T* const* states, T* __restrict measured, std::ptrdiff_t n, T scale,
                        const typename Rule::template coefficients<T>& c) {
  T *const s0 = states[0], *const s1 = states[1], *const s2 = states[2], *const s3 = states[3];
#if defined(__clang__)
#pragma clang loop vectorize(assume_safety)
#else
#pragma GCC ivdep
#endif
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    T s[max_states] = {};
    if constexpr (has_state<Rule, V, 0>()) s[0] = s0[i];
    if constexpr (has_state<Rule, V, 1>()) s[1] = s1[i];
    if constexpr (has_state<Rule, V, 2>()) s[2] = s2[i];
    if constexpr (has_state<Rule, V, 3>()) s[3] = s3[i];
    measured[i] = Rule::template measure<V>(p[i], g[i] * scale, s, c);
    if constexpr (has_state<Rule, V, 0>()) s0[i] = s[0];
    if constexpr (has_state<Rule, V, 1>()) s1[i] = s[1];
    if constexpr (has_state<Rule, V, 2>()) s2[i] = s[2];
    if constexpr (has_state<Rule, V, 3>()) s3[i] = s[3];
  }
}

/// Adds the squares of the parameters to the first norm_lanes lanes at `sums`, and the squares of the measured numbers
/// to the next ones. The run begins with lane 0.
template <class Rule, unsigned V, class T>
void measure(const Run& run, const Stages& st, const Coefficients& raw) {
  typename Rule::template coefficients<T> c;
  __builtin_memcpy(&c, raw.bytes, sizeof c);
  const T scale = before_rule<T>(st) ? T(1) : T(st.scale);
  static_assert(block_size % norm_lanes == 0);
  for (std::ptrdiff_t done = 0; done < run.count; done += block_size) {
    alignas(64) T buffer[block_size], measured[block_size];
    const std::ptrdiff_t n = run.count - done < block_size ? run.count - done : block_size;
    T* const p = static_cast<T*>(run.p) + done;
    T* states[max_states];
    for (int k = 0; k < max_states; ++k) states[k] = static_cast<T*>(run.states[k]) + (run.states[k] ? done : 0);
    const T* g = prepare_gradient(static_cast<const T*>(run.g) + done, st, n, p, buffer);
    measure_all<Rule, V>(p, g, states, measured, n, scale, c);
    add_squares(p, n, 0, st.sums);
    add_squares(measured, n, 0, st.sums + norm_lanes);
  }
}

template <class Rule, class T>
void trust(double norm, double measured, std::int64_t count, Coefficients& out) {
  typename Rule::template coefficients<T> c;
  __builtin_memcpy(&c, out.bytes, sizeof c);
  Rule::trust(c, norm, measured, count);
  __builtin_memcpy(out.bytes, &c, sizeof c);
}

}  // namespace
}  // namespace fusedstep
