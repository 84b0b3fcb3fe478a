// One sweep over a run of elements: each element passes through all stages while it is in a register or in the
// first-level cache, so that memory is read and written once.
#pragma once

#include "machine/vectors.simd.h"
#include "step/stages.simd.h"

namespace fusedstep {
namespace {

/// Rules without states need not name any.
template <class Rule>
constexpr int count_states() {
  if constexpr (requires { Rule::states[0]; })
    return int(sizeof(Rule::states) / sizeof(StateName));
  else
    return 0;
}
template <class Rule>
constexpr int state_count = count_states<Rule>();

template <class Rule, unsigned V, int K>
constexpr bool has_state() {
  if constexpr (K < state_count<Rule>)
    return (V & Rule::states[K].needs) == Rule::states[K].needs;
  else
    return false;
}

/// Calls body(i, s) for n elements; s[k] is the element's state k, which the body may change.
template <class Rule, unsigned V, class T, class Body>
FUSEDSTEP_INLINE void for_elements(T* const* states, std::ptrdiff_t n, Body body) {
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
    body(i, s);
    if constexpr (has_state<Rule, V, 0>()) s0[i] = s[0];
    if constexpr (has_state<Rule, V, 1>()) s1[i] = s[1];
    if constexpr (has_state<Rule, V, 2>()) s2[i] = s[2];
    if constexpr (has_state<Rule, V, 3>()) s3[i] = s[3];
  }
}

/// The factors of the loop around a rule.
template <class T>
struct Factors {
  T scale, shrink;
  Ema<T> average;
};

/// Calls prefetch_ahead for each stream of a rule.
template <class Rule, unsigned V, std::ptrdiff_t n, class T>
FUSEDSTEP_INLINE void prefetch_streams(const T* p, const T* g, T* const* states, const T* ema) {
  prefetch_ahead<n>(p), prefetch_ahead<n>(g);
  if constexpr (has_state<Rule, V, 0>()) prefetch_ahead<n>(states[0]);
  if constexpr (has_state<Rule, V, 1>()) prefetch_ahead<n>(states[1]);
  if constexpr (has_state<Rule, V, 2>()) prefetch_ahead<n>(states[2]);
  if constexpr (has_state<Rule, V, 3>()) prefetch_ahead<n>(states[3]);
  if (ema) prefetch_ahead<n>(ema);
}

/// Applies the rule to n elements, and averages its results if `averaged`. The average costs two more streams, which
/// most rules hide behind their divisions. `g` must not overlap anything that is written.
template <class Rule, unsigned V, bool averaged, class T>
FUSEDSTEP_INLINE void update(T* p, const T* g, T* const* states, T* ema, std::ptrdiff_t n, Factors<T> f,
                             const typename Rule::template coefficients<T>& c) {
  for_elements<Rule, V>(
      states, n, [ =, &c ](std::ptrdiff_t i, T * s) __attribute__((always_inline)) {
        const T updated = Rule::template update<V>(p[i] * f.shrink, g[i] * f.scale, s, c);
        p[i] = updated;
        if constexpr (averaged) ema[i] = f.average(ema[i], updated);
      });
}

/// Prefetches come after so many elements, a few at a time, so that they do not wait for each other.
constexpr std::ptrdiff_t update_group = 64;

/// The same, with prefetches in between if they are wanted.
template <class Rule, unsigned V, bool averaged, class T>
FUSEDSTEP_INLINE void update_run(T* p, const T* g, T* const* states, T* ema, std::ptrdiff_t n, Factors<T> f,
                                 const typename Rule::template coefficients<T>& c, bool prefetches) {
  T* at[max_states] = {states[0], states[1], states[2], states[3]};
  for (; prefetches && n >= update_group; n -= update_group) {
    update<Rule, V, averaged>(p, g, at, ema, update_group, f, c);
    prefetch_streams<Rule, V, update_group>(p, g, at, averaged ? ema : nullptr);
    p += update_group, g += update_group, ema += averaged ? update_group : 0;
    for (int k = 0; k < state_count<Rule>; ++k) at[k] += at[k] ? update_group : 0;
  }
  update<Rule, V, averaged>(p, g, at, ema, n, f, c);
}

/// Applies the stages before the rule to one block and returns the gradient for the rule, which is scaled.
template <class T>
inline const T* prepare_gradient(const T* g, const Stages& st, std::ptrdiff_t n, T* p, T* buffer) {
  T scale = T(st.scale);
  if (!keeps_digits<T>(st.scale)) {
    for (std::ptrdiff_t i = 0; i < n; ++i) buffer[i] = scaled(g[i], st.scale);
    g = buffer, scale = T(1);
  }
  if (st.clip_value < 0) {
    scale_and_decay(g, buffer, p, n, scale, T(st.l2));
  } else {
    scale_and_clip(g, buffer, n, scale, T(st.clip_value));
    scale_and_decay(buffer, buffer, p, n, T(1), T(st.l2));
  }
  if (st.l1 != 0) add_sign(buffer, p, n, T(st.l1));
  if (st.subtract != 0) subtract_sign(p, n, T(st.subtract));
  return buffer;
}

/// Stages work on blocks of this many elements, which fit in the first-level cache.
constexpr std::ptrdiff_t block_size = 128;

/// Gradients are zeroed this many elements at a time, while they are in the first-level cache. A call for each block
/// would cost more than the stores.
constexpr std::ptrdiff_t zeroed_together = 8 * block_size;

/// The elements of a run whose streams may not be in the caches.
constexpr std::ptrdiff_t long_run = 16384;

template <class T>
inline void zero_behind(T* g, std::ptrdiff_t done, std::ptrdiff_t count) {
  const std::ptrdiff_t whole = done / zeroed_together * zeroed_together,
                       start = done == whole ? done - zeroed_together : whole;
  if (done == whole || done == count)
    for (std::ptrdiff_t i = start; i < done; ++i) g[i] = T(0);
}

template <class Rule, unsigned V, class T>
void sweep(const Run& run, const Stages& st, const Coefficients& raw) {
  typename Rule::template coefficients<T> c;
  __builtin_memcpy(&c, raw.bytes, sizeof c);
  const bool before = before_rule<T>(st), after = after_rule(st);
  const Factors<T> f{before ? T(1) : T(st.scale), T(st.shrink), Ema<T>(st.ema_decay)};
  // The elements that pass through one stage before the next: a block, or all if the rule's loop is the only one.
  const std::ptrdiff_t step = before || after ? block_size : st.zero_gradient ? zeroed_together : run.count;
  const bool is_long = run.count >= long_run;
  for (std::ptrdiff_t done = 0; done < run.count; done += step) {
    alignas(64) T buffer[block_size];
    const std::ptrdiff_t n = run.count - done < step ? run.count - done : step;
    T *const p = static_cast<T*>(run.p) + done, *const ema = run.ema ? static_cast<T*>(run.ema) + done : nullptr;
    T* states[max_states];
    for (int k = 0; k < max_states; ++k) states[k] = static_cast<T*>(run.states[k]) + (run.states[k] ? done : 0);
    const T* g = static_cast<const T*>(run.g) + done;
    if (is_long && (before || after)) prefetch_streams<Rule, V, block_size>(p, g, states, ema);
    if (before) g = prepare_gradient(g, st, n, p, buffer);
    if (ema && !after)
      update_run<Rule, V, true>(p, g, states, ema, n, f, c, is_long && !before);
    else
      update_run<Rule, V, false>(p, g, states, ema, n, f, c, is_long && !before && !after);
    if (after) {
      proximal(p, n, T(st.threshold), T(st.divide));
      if (ema) average_all(ema, p, n, f.average);
    }
    if (st.zero_gradient) zero_behind(static_cast<T*>(run.g), done + n, run.count);
  }
}

template <class Rule>
constexpr bool has_scalars = requires {
  Rule::scalars;
};

template <class Rule, class T>
void prepare(const double* hyper, double lr, std::int64_t t, double* scalars, Coefficients& out) {
  const auto c = [&] {
    if constexpr (has_scalars<Rule>)
      return Rule::template prepare<T>(hyper, lr, t, scalars);
    else
      return Rule::template prepare<T>(hyper, lr, t);
  }();
  static_assert(sizeof c <= sizeof out.bytes);
  __builtin_memcpy(out.bytes, &c, sizeof c);
}

}  // namespace
}  // namespace fusedstep
