// The first pass of update rules that need norms of the whole tensor. It computes these norms.
#pragma once

#include "step/norm.simd.h"

namespace fusedstep {
namespace {

template <class Rule>
constexpr bool has_norms = requires {
  &Rule::template trust<float>;
};

/// Writes the results of Rule::measure for n elements to `out`.
template <class Rule, unsigned V, class N, class T>
inline void measure_block(const T* p, const T* g, T* const* states, std::ptrdiff_t n, T scale,
                          const typename Rule::template coefficients<N>& c, T* out) {
  for_elements<Rule, V, N>(
      states, n, [ =, &c ](std::ptrdiff_t i, N * s) __attribute__((always_inline)) {
        out[i] = number(Rule::template measure<V>(N(p[i]), N(g[i] * scale), s, c));
      });
}

/// Adds the squares of the parameters to the first norm_lanes partial sums at `sums`. Adds the squares of the results
/// of Rule::measure to the next norm_lanes partial sums. The squares of the run's first element are added to partial
/// sums 0 and norm_lanes.
template <class Rule, unsigned V, class T>
void measure(const Run& run, const Stages& st, const Coefficients& raw) {
  using C = Careful<T>;
  const bool before = before_rule<T>(st);
  const T scale = before ? T(1) : T(st.scale);
  static_assert(block_size % norm_lanes == 0);
  for (std::ptrdiff_t done = 0; done < run.count; done += block_size) {
    alignas(64) T buffer[block_size], measured[block_size];
    const std::ptrdiff_t n = run.count - done < block_size ? run.count - done : block_size;
    T* const p = static_cast<T*>(run.p) + done;
    T* states[max_states];
    for (int k = 0; k < max_states; ++k) states[k] = static_cast<T*>(run.states[k]) + (run.states[k] ? done : 0);
    const T* g = static_cast<const T*>(run.g) + done;
    if (before) g = prepare_gradient(g, st, n, p, buffer);
    if (raw.careful)
      measure_block<Rule, V, C>(p, g, states, n, scale, coefficients_of<Rule, C>(raw), measured);
    else
      measure_block<Rule, V, T>(p, g, states, n, scale, coefficients_of<Rule, T>(raw), measured);
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
