// Fused kernels: loops that decode, update and encode small parts of a block of elements. They exist for Adam and the
// most used combinations of formats. In all other cases, the functions of each format decode and encode whole blocks.
// Both ways give results with the same bits.
#pragma once

#include "step/sweep.simd.h"
#if defined(__AVX2__)
#include "formats/parts.simd.h"
#endif

namespace fusedstep {
namespace {

#if defined(__AVX2__)
/// A coder decodes and encodes the parts of one stream; see parts.simd.h. This one takes the place of a state that a
/// variant of a rule does not have.
struct NoPart {
  NoPart(const Stream&, const Rounding&) {}
  void begin(std::ptrdiff_t) const {}
  float* get(std::ptrdiff_t, Part&) const { return nullptr; }
  void put(std::ptrdiff_t, const float*, const float*) const {}
  void end() const {}
  void finish() const {}
};

template <class Rule, unsigned V, template <bool positive> class S, int K>
constexpr auto state_part(const Stream& s, const Rounding& r) {
  if constexpr (has_state<Rule, V, K>())
    return S<Rule::states[K].positive>(s, r);
  else
    return NoPart(s, r);
}
template <class Rule, unsigned V, template <bool positive> class S, int K>
using StatePart = decltype(state_part<Rule, V, S, K>({}, {}));

template <class Rule, unsigned V, class P, class G, template <bool positive> class S>
struct Coders {
  explicit Coders(const FusedStreams& s)
      : p(s.p, s.rounding[0]),
        g(s.g, {}),
        s0(s.states[0], s.rounding[1]),
        s1(s.states[1], s.rounding[2]),
        s2(s.states[2], s.rounding[3]),
        s3(s.states[3], s.rounding[4]) {}

  template <class Visit>
  FUSEDSTEP_INLINE void for_written(const Visit& visit) {
    visit(p, 0), visit(s0, 1), visit(s1, 2), visit(s2, 3), visit(s3, 4);
  }

  P p;
  G g;
  StatePart<Rule, V, S, 0> s0;
  StatePart<Rule, V, S, 1> s1;
  StatePart<Rule, V, S, 2> s2;
  StatePart<Rule, V, S, 3> s3;
};

/// Updates two parts of a block, which begin at elements i and i + half_block.
template <class Rule, unsigned V, class C>
FUSEDSTEP_INLINE void fused_parts(C& coders, std::ptrdiff_t i, const Factors<float>& f,
                                  const typename Rule::template coefficients<float>& c) {
  Part buffers[2][1 + max_states], gradient[2];
  float* written[2][1 + max_states];
#pragma GCC unroll 2
  for (int h = 0; h < 2; ++h) {
    coders.for_written([&](auto& coder, int k) { written[h][k] = coder.get(i + h * half_block, buffers[h][k]); });
    const float* const g = coders.g.get(i + h * half_block, gradient[h]);
    update<Rule, V, false, float>(written[h][0], g, written[h] + 1, static_cast<float*>(nullptr), part, f, c);
  }
  coders.for_written([&](auto& coder, int k) { coder.put(i, written[0][k], written[1][k]); });
}

template <class Rule, unsigned V, class P, class G, template <bool positive> class S>
void fused(const FusedStreams& streams, std::ptrdiff_t first, std::ptrdiff_t blocks, const Stages& st,
           const Coefficients& raw) {
  const auto c = coefficients_of<Rule, float>(raw);
  const Factors<float> f{float(st.scale), float(st.shrink), Ema<float>(1.0)};
  Coders<Rule, V, P, G, S> coders(streams);
  for (; blocks > 0; --blocks, first += scaled_together) {
    coders.g.begin(first);
    coders.for_written([&](auto& coder, int) { coder.begin(first); });
    for (std::ptrdiff_t i = 0; i < half_block; i += part) fused_parts<Rule, V>(coders, i, f, c);
    coders.for_written([](auto& coder, int) { coder.end(); });
  }
  coders.for_written([](auto& coder, int) { coder.finish(); });
}

template <bool>
using NativeState = NativePart;
template <bool>
using NearestState = Bf16Part<false>;
template <bool>
using StochasticState = Bf16Part<true>;
template <bool>
using F16State = F16Part;

template <class Rule, unsigned V>
constexpr FusedKernel fused_kernels[] = {
    {Format::f32, Format::f32, Format::bf16, true, fused<Rule, V, NativePart, NativePart, StochasticState>},
    {Format::f32, Format::f32, Format::u8, true, fused<Rule, V, NativePart, NativePart, U8Part>},
    {Format::bf16_low, Format::bf16, Format::f32, false, fused<Rule, V, LowPart, Bf16Part<false>, NativeState>},
    {Format::bf16_low, Format::bf16, Format::bf16, true, fused<Rule, V, LowPart, Bf16Part<false>, StochasticState>},
    {Format::bf16_low, Format::bf16, Format::u8, true, fused<Rule, V, LowPart, Bf16Part<false>, U8Part>},
    {Format::f16, Format::f16, Format::f16, false, fused<Rule, V, F16Part, F16Part, F16State>},
    {Format::bf16, Format::bf16, Format::bf16, false, fused<Rule, V, Bf16Part<false>, Bf16Part<false>, NearestState>}};

/// The fused kernels of a rule, if it has any. With vectors of 16 bytes, they would be no faster than decoding and
/// encoding whole blocks. So without AVX2, no rule has fused kernels.
template <class Rule, unsigned V>
constexpr FusedList fused_list() {
  if constexpr (std::is_same_v<Rule, adam>)
    return {fused_kernels<Rule, V>, int(sizeof fused_kernels<Rule, V> / sizeof(FusedKernel))};
  else
    return {};
}
#else
template <class, unsigned>
constexpr FusedList fused_list() {
  return {};
}
#endif

}  // namespace
}  // namespace fusedstep
