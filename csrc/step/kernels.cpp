// The optimizer step. This file is compiled once per instruction set, and FUSEDSTEP_LEVEL is the name of the set. Only
// the table at the end has external linkage. So the linker cannot replace a function by the same function of another
// instruction set.
#include "formats/blocks.simd.h"
#include "step/factored.simd.h"
#include "step/kernel.h"
#include "step/measure.simd.h"
#include "step/norm.simd.h"
#include "step/sweep.simd.h"

#include "rules.inc"  // generated: includes rules/*.h and defines FUSEDSTEP_RULES(X)

#include "step/fused.simd.h"

namespace fusedstep {
namespace {

template <class T, int N>
constexpr int length(T (&)[N]) {
  return N;
}

template <class Rule>
constexpr int variant_bits = Rule::variants[0] ? length(Rule::variants) : 0;

template <class Rule>
constexpr RuleInfo info(const char* name) {
  static_assert(length(Rule::hyper) <= max_hyper && state_count<Rule> <= max_states);
  static_assert(variant_bits<Rule> <= max_variants);
  RuleInfo info{
      name, Rule::variants, variant_bits<Rule>, Rule::hyper, length(Rule::hyper), nullptr, state_count<Rule>, nullptr,
      0};
  if constexpr (state_count < Rule >> 0) info.states = Rule::states;
  if constexpr (has_scalars<Rule>) {
    static_assert(length(Rule::scalars) <= max_scalars);
    info.scalars = Rule::scalars, info.scalar_count = length(Rule::scalars);
  }
  return info;
}

template <class Rule, unsigned V = 0>
constexpr void fill(RuleKernels& k) {
  k.sweep[int(DType::f32)][V] = sweep<Rule, V, float>;
  k.sweep[int(DType::f64)][V] = sweep<Rule, V, double>;
  if constexpr (has_norms<Rule>) {
    k.measure[int(DType::f32)][V] = measure<Rule, V, float>;
    k.measure[int(DType::f64)][V] = measure<Rule, V, double>;
  }
  k.fused[V] = fused_list<Rule, V>();
  if constexpr (V + 1 < (1u << variant_bits<Rule>)) fill<Rule, V + 1>(k);
}

template <class Rule>
constexpr RuleKernels kernels_of() {
  RuleKernels k{{prepare<Rule, float>, prepare<Rule, double>}, {}, {}, {}, {}};
  if constexpr (has_norms<Rule>) k.trust[0] = trust<Rule, float>, k.trust[1] = trust<Rule, double>;
  fill<Rule>(k);
  return k;
}

#define FUSEDSTEP_INFO(rule) info<rule>(#rule),
#define FUSEDSTEP_KERNELS(rule) kernels_of<rule>(),
constexpr RuleInfo infos[] = {FUSEDSTEP_RULES(FUSEDSTEP_INFO)};
constexpr RuleKernels rules[] = {FUSEDSTEP_RULES(FUSEDSTEP_KERNELS)};

}  // namespace

extern constexpr StepKernels FUSEDSTEP_TABLE(step_kernels) = {
    length(infos),
    infos,
    rules,
    {square_sum<float>, square_sum<double>},
    {roofline<float>, roofline<double>},
    {row_column_squares<float>, row_column_squares<double>},
    {divide_by_factors<float>, divide_by_factors<double>},
    {format_kernels<native<float>>, format_kernels<native<double>>, format_kernels<bf16>, format_kernels<f16>,
     low_kernels, master_kernels, u8_kernels<false>, u8_kernels<true>}};

}  // namespace fusedstep
