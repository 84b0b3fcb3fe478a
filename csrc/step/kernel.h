// The interface between the code that is compiled once and the code that is compiled per instruction set: plain structs
// and a table of function pointers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/format.h"
#include "machine/level.h"
#include "rules/rule.h"

namespace fusedstep {

/// Memory for a rule's coefficients<T>. The type is defined in the rule's header.
struct Coefficients {
  alignas(8) unsigned char bytes[112];
  bool careful = false;  // true: a weight is 0, so the rule computes with Careful numbers
};

/// The operations before and after the rule, for one parameter group in one step. With the default values, they change
/// no bit of any element. g is the gradient, p is the parameter, and avg is the running average of the parameter.
struct Stages {
  double scale = 1.0;        // 1 / grad_scale, times the clip coefficient, times -1 if maximize
  double clip_value = -1.0;  // bound of |g| after scaling; negative: none
  double l2 = 0.0;           // g += l2 p
  double l1 = 0.0;           // g += l1 sign(p)
  double shrink = 1.0;       // p *= shrink before the rule: decoupled decay
  double subtract = 0.0;     // p -= subtract sign(p) before the rule: decoupled l1
  double threshold = 0.0;    // p = sign(p) max(|p| - threshold, 0) after the rule: proximal l1
  double divide = 1.0;       // p /= divide after the rule: proximal decay
  double ema_decay = 1.0;    // avg = ema_decay avg + (1 - ema_decay) p, if there is an average
  bool zero_gradient = false;
  bool prefetch = false;   // the streams are probably not in the second-level cache
  double* sums = nullptr;  // in the first pass of a rule with two passes: norm_lanes partial sums for each of two norms
};

// In an anonymous namespace, because the common code and the code for each instruction set compile these functions.
namespace {

/// True if converting a factor to T keeps its precision: it is 0 or within the range of T's normal numbers.
template <class T>
inline bool keeps_digits(double factor) {
  // numeric_limits is not used; see largest_number.
  constexpr double smallest = sizeof(T) == 4 ? 0x1p-126 : 0x1p-1022;
  constexpr double largest = sizeof(T) == 4 ? 0x1.fffffep127 : 0x1.fffffffffffffp1023;
  const double size = factor < 0 ? -factor : factor;
  return size == 0 || (size >= smallest && size <= largest);
}

/// A gradient times a factor. The factor may be outside the range of T, for example a clip coefficient below 1e-38.
template <class T>
inline T scaled(T g, double factor) {
  return keeps_digits<T>(factor) ? g * T(factor) : T(double(g) * factor);
}

/// True if there are stages before the rule that need a loop of their own.
template <class T>
inline bool before_rule(const Stages& st) {
  return st.clip_value >= 0 || st.l2 != 0 || st.l1 != 0 || st.subtract != 0 || !keeps_digits<T>(st.scale);
}

inline bool after_rule(const Stages& st) { return st.threshold != 0 || st.divide != 1; }

}  // namespace

/// A run: consecutive elements of one tensor that are updated by one call. All arrays are contiguous and have the type
/// in which the kernel computes.
struct Run {
  void* p;
  void* states[max_states];
  void* ema;  // or null
  void* g;    // written only if Stages::zero_gradient
  std::ptrdiff_t count;
};

/// The number of partial sums (lanes) of a sum of squares. It is the same on every machine.
constexpr int norm_lanes = 16;

namespace {

/// Adds up the lanes in a fixed order, and overwrites them.
inline double sum_of_lanes(double (&lanes)[norm_lanes]) {
  for (int width = norm_lanes / 2; width > 0; width /= 2)
    for (int k = 0; k < width; ++k) lanes[k] += lanes[k + width];
  return lanes[0];
}

}  // namespace

using SweepFn = void (*)(const Run&, const Stages&, const Coefficients&);
/// Computes the coefficients of one tensor for its t-th step, and updates the numbers in `scalars`; see ScalarName.
using PrepareFn = void (*)(const double* hyper, double lr, std::int64_t t, double* scalars, Coefficients& out);
using SquareSumFn = void (*)(const void* g, std::ptrdiff_t n, unsigned lane, double* lanes);
using RooflineFn = void (*)(void* const* read_write, int count, const void* read, std::ptrdiff_t first,
                            std::ptrdiff_t n);

/// Writes the sum of squares of each of some consecutive rows to `of_rows`. If `of_columns` is not null, also adds the
/// square of each element to the sum of its column.
using RowColumnSquaresFn = void (*)(const void* x, std::ptrdiff_t rows, std::ptrdiff_t columns, double* of_rows,
                                    double* of_columns);
/// y = x / sqrt(max(row * column, floor)) for consecutive rows of a matrix.
using DivideByFactorsFn = void (*)(const void* x, const void* row, const void* column, std::ptrdiff_t rows,
                                   std::ptrdiff_t columns, double floor, void* y);

struct RuleInfo {
  const char* name;
  const char* const* variants;  // bit k of a variant is named variants[k]
  int variant_bits;
  const char* const* hyper;
  int hyper_count;
  const StateName* states;
  int state_count;
  const ScalarName* scalars;
  int scalar_count;
};

/// The streams of a tensor: the parameter, the gradient and the states. They have no gaps. `rounding` has one item for
/// the parameter, and then one item for each state.
struct FusedStreams {
  Stream p, g, states[max_states];
  Rounding rounding[1 + max_states];
};
/// Updates `blocks` whole blocks of 256 elements, from element `first` on. Of the stages, only the factors `scale` and
/// `shrink` are applied.
using FusedFn = void (*)(const FusedStreams&, std::ptrdiff_t first, std::ptrdiff_t blocks, const Stages&,
                         const Coefficients&);

/// A kernel for a parameter, a gradient and states of these formats. If `states` is u8, the kernel also takes states of
/// the format u8_positive.
struct FusedKernel {
  Format p, g, states;
  bool stochastic;  // true: the kernel rounds states stochastically. Ignored for float32 states.
  FusedFn run;
};
struct FusedList {
  const FusedKernel* kernels = nullptr;
  int count = 0;
};

/// For a rule with two passes: the first pass computes two norms of a tensor, and the second pass updates it. The
/// function computes the coefficients of the second pass. `norm` is the norm of the tensor's `count` parameters, and
/// `measured` is the norm of the numbers that Rule::measure computes.
using TrustFn = void (*)(double norm, double measured, std::int64_t count, Coefficients& out);

struct RuleKernels {
  PrepareFn prepare[dtype_count];
  SweepFn sweep[dtype_count][1 << max_variants];
  FusedList fused[1 << max_variants];
  // Only for rules with two passes; null for other rules.
  SweepFn measure[dtype_count][1 << max_variants];
  TrustFn trust[dtype_count];
};

/// The step's kernels of one instruction set; rules[i] belongs to infos[i].
struct StepKernels {
  int rule_count;
  const RuleInfo* infos;
  const RuleKernels* rules;
  SquareSumFn square_sum[dtype_count];
  RooflineFn roofline[dtype_count];
  RowColumnSquaresFn row_column_squares[dtype_count];
  DivideByFactorsFn divide_by_factors[dtype_count];
  FormatKernels formats[format_count];
};
FUSEDSTEP_TABLES(StepKernels, step_kernels)

}  // namespace fusedstep
