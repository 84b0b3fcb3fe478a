// The loop of a step over a run. A run is a part of a tensor that one thread updates. Stages are the operations before
// and after the update rule. All stages are applied to a block of elements while the block is in registers or in the
// first-level cache. So memory is read and written once.
#pragma once

#include "machine/vectors.simd.h"
#include "step/stages.simd.h"

namespace fusedstep {
namespace {

/// The number of a rule's states. A rule without states need not define `states`.
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

/// Calls body(i, s) for each element i < n. s[k] is state k of the element, as a number of type N. The body may change
/// s[k].
template <class Rule, unsigned V, class N, class T, class Body>
FUSEDSTEP_INLINE void for_elements(T* const* states, std::ptrdiff_t n, Body body) {
  T *const s0 = states[0], *const s1 = states[1], *const s2 = states[2], *const s3 = states[3];
#if defined(__clang__)
#pragma clang loop vectorize(assume_safety)
#else
#pragma GCC ivdep
#endif
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    N s[max_states] = {};
    if constexpr (has_state<Rule, V, 0>()) s[0] = N(s0[i]);
    if constexpr (has_state<Rule, V, 1>()) s[1] = N(s1[i]);
    if constexpr (has_state<Rule, V, 2>()) s[2] = N(s2[i]);
    if constexpr (has_state<Rule, V, 3>()) s[3] = N(s3[i]);
    body(i, s);
    if constexpr (has_state<Rule, V, 0>()) s0[i] = number(s[0]);
    if constexpr (has_state<Rule, V, 1>()) s1[i] = number(s[1]);
    if constexpr (has_state<Rule, V, 2>()) s2[i] = number(s[2]);
    if constexpr (has_state<Rule, V, 3>()) s3[i] = number(s[3]);
  }
}

template <class Rule, class N>
inline typename Rule::template coefficients<N> coefficients_of(const Coefficients& raw) {
  typename Rule::template coefficients<N> c;
  static_assert(sizeof c <= sizeof raw.bytes);
  __builtin_memcpy(&c, raw.bytes, sizeof c);
  return c;
}

/// The loop that calls a rule multiplies the gradient by `scale` and the parameter by `shrink`. `average` updates the
/// running average of the parameter.
template <class T>
struct Factors {
  T scale, shrink;
  Ema<T> average;
};

/// Calls prefetch_ahead for n elements of each array of a step: the parameter, the gradient, the states, and the
/// running average of the parameter.
template <class Rule, unsigned V, class T>
FUSEDSTEP_INLINE void prefetch_streams(const T* p, const T* g, T* const* states, const T* ema, std::ptrdiff_t n) {
  constexpr std::ptrdiff_t line = 64 / sizeof(T);
  for (std::ptrdiff_t i = 0; i < n; i += line) {
    prefetch_ahead<line>(p + i), prefetch_ahead<line>(g + i);
    if constexpr (has_state<Rule, V, 0>()) prefetch_ahead<line>(states[0] + i);
    if constexpr (has_state<Rule, V, 1>()) prefetch_ahead<line>(states[1] + i);
    if constexpr (has_state<Rule, V, 2>()) prefetch_ahead<line>(states[2] + i);
    if constexpr (has_state<Rule, V, 3>()) prefetch_ahead<line>(states[3] + i);
    if (ema) prefetch_ahead<line>(ema + i);
  }
}

/// Applies the rule to n elements, with numbers of type N. If `averaged`, it also updates the running average `ema` of
/// the parameters. `g` must not overlap an array that is written.
template <class Rule, unsigned V, bool averaged, class N, class T>
FUSEDSTEP_INLINE void update(T* p, const T* g, T* const* states, T* ema, std::ptrdiff_t n, Factors<T> f,
                             const typename Rule::template coefficients<N>& c) {
  for_elements<Rule, V, N>(
      states, n, [ =, &c ](std::ptrdiff_t i, N * s) __attribute__((always_inline)) {
        const T updated = number(Rule::template update<V>(N(p[i] * f.shrink), N(g[i] * f.scale), s, c));
        p[i] = updated;
        if constexpr (averaged) ema[i] = f.average(ema[i], updated);
      });
}

/// Applies the stages before the rule to one block. The result is the gradient for the rule, already scaled.
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

/// The largest number of elements in a block. A block of this size fits in the first-level cache.
constexpr std::ptrdiff_t block_size = 256;

/// The block sizes of runs that prefetch: prefetched_block if there are stages before or after the rule, otherwise
/// prefetched_alone. They are smaller than block_size, because each block begins with its prefetches, and a core can
/// only wait for a few cache lines at a time.
constexpr std::ptrdiff_t prefetched_block = 128, prefetched_alone = 64;

/// Runs with fewer elements do not prefetch, because many of the prefetched elements would be after the end of the run.
constexpr std::ptrdiff_t long_run = 4096;
inline bool has_prefetches(const Run& run, const Stages& st) { return st.prefetch && run.count >= long_run; }

/// The number of gradient elements that are zeroed at once, while they are in the first-level cache. A function call
/// for each block would take more time than the stores.
constexpr std::ptrdiff_t zeroed_together = 4 * block_size;

/// The number of elements in a block: all of them pass through one stage before the next stage begins. `around` is true
/// if there are stages before or after the rule.
inline std::ptrdiff_t stride_of(const Run& run, const Stages& st, bool around, bool prefetches) {
  if (around) return prefetches ? prefetched_block : block_size;
  if (prefetches) return prefetched_alone;
  return st.zero_gradient ? zeroed_together : run.count;
}

template <class T>
inline void zero_behind(T* g, std::ptrdiff_t done, std::ptrdiff_t count) {
  const std::ptrdiff_t whole = done / zeroed_together * zeroed_together,
                       start = done == whole ? done - zeroed_together : whole;
  if (done == whole || done == count)
    for (std::ptrdiff_t i = start; i < done; ++i) g[i] = T(0);
}

/// Applies the stages and the rule to a run, block by block. The function is not inlined, so that `sweep` needs few
/// registers.
template <class Rule, unsigned V, class T>
[[gnu::noinline]] void sweep_stages(const Run& run, const Stages& st, const Coefficients& raw) {
  using C = Careful<T>;
  const auto c = coefficients_of<Rule, T>(raw);
  const bool before = before_rule<T>(st), after = after_rule(st), prefetches = has_prefetches(run, st);
  const Factors<T> f{before ? T(1) : T(st.scale), T(st.shrink), Ema<T>(st.ema_decay)};
  const bool careful = raw.careful || (run.ema && has_zero_weight<T>(f.average));
  const std::ptrdiff_t step = stride_of(run, st, before || after, prefetches);
  for (std::ptrdiff_t done = 0; done < run.count; done += step) {
    alignas(64) T buffer[block_size];
    const std::ptrdiff_t n = run.count - done < step ? run.count - done : step;
    T *const p = static_cast<T*>(run.p) + done, *const ema = run.ema ? static_cast<T*>(run.ema) + done : nullptr;
    T* states[max_states];
    for (int k = 0; k < max_states; ++k) states[k] = static_cast<T*>(run.states[k]) + (run.states[k] ? done : 0);
    const T* g = static_cast<const T*>(run.g) + done;
    if (prefetches) prefetch_streams<Rule, V>(p, g, states, ema, step);
    if (before) g = prepare_gradient(g, st, n, p, buffer);
    if (ema && !after && !careful)
      update<Rule, V, true, T>(p, g, states, ema, n, f, c);
    else if (has_weights<Rule> && careful)
      update<Rule, V, false, C>(p, g, states, ema, n, f, coefficients_of<Rule, C>(raw));
    else
      update<Rule, V, false, T>(p, g, states, ema, n, f, c);
    if (after) proximal(p, n, T(st.threshold), T(st.divide));
    if (ema && careful)
      average_all(ema, p, n, Ema<C>(st.ema_decay));
    else if (ema && after)
      average_all(ema, p, n, f.average);
    if (st.zero_gradient) zero_behind(static_cast<T*>(run.g), done + n, run.count);
  }
}

template <class Rule, unsigned V, class T>
void sweep(const Run& run, const Stages& st, const Coefficients& raw) {
  if (raw.careful || run.ema || st.zero_gradient || has_prefetches(run, st) || before_rule<T>(st) || after_rule(st))
    return sweep_stages<Rule, V, T>(run, st, raw);
  T* states[max_states];
  for (int k = 0; k < max_states; ++k) states[k] = static_cast<T*>(run.states[k]);
  const Factors<T> f{T(st.scale), T(st.shrink), {}};
  update<Rule, V, false, T>(static_cast<T*>(run.p), static_cast<const T*>(run.g), states, static_cast<T*>(nullptr),
                            run.count, f, coefficients_of<Rule, T>(raw));
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
  out.careful = has_weights<Rule> && has_zero_weight<T>(c);
}

}  // namespace
}  // namespace fusedstep
