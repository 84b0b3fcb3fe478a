// The interface between the code compiled once and the code compiled per instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "machine/level.h"

namespace fusedstep {

/// Element (n, c, s) lies at (n * channels + c) * inner + s: N, C, ... has inner > 1, channels last has inner = 1.
struct BatchNormShape {
  std::ptrdiff_t outer, channels, inner;
};

/// The statistics' geometry, which fixes their bits. Value j = n * inner + s of a channel, in whatever layout, goes
/// to lane j mod batch_lanes of block j / batch_block; lanes are added pairwise, blocks in order, in double.
constexpr int batch_lanes = 32;
constexpr std::ptrdiff_t batch_block = 1024;

/// What one call works on.
struct BatchNormRegion {
  std::ptrdiff_t channel_begin, channel_end, outer_begin, outer_end, inner_begin, inner_end;
};

// In an anonymous namespace, because several objects compile them.
namespace {

/// Coefficients are arrays over channels of the data's type. Where channels lie side by side, they are repeated with
/// this period, and a vector beyond it, so that rows of any length are walked as one.
constexpr std::ptrdiff_t coefficient_margin = 16;
constexpr std::ptrdiff_t coefficient_period(const BatchNormShape& s) {
  if (s.inner > 1) return s.channels;
  return s.channels * (s.channels <= 16 ? batch_lanes : s.channels < 64 ? 2 + 64 / s.channels : 1);
}

/// The bit of element (plane, s) or, where channels lie side by side, (0, element): a plane's first bit begins a word,
/// as does the first of row_unit rows.
constexpr std::ptrdiff_t row_unit = 32;
constexpr std::ptrdiff_t mask_bit(const BatchNormShape& s, std::ptrdiff_t plane, std::ptrdiff_t in_plane) {
  return plane * ((s.inner + 31) / 32 * 32) + in_plane;
}
constexpr std::ptrdiff_t mask_words(const BatchNormShape& s) {
  const std::ptrdiff_t planes = s.outer * s.channels;
  return (s.inner > 1 ? mask_bit(s, planes, 0) : planes) / 32 + 2;
}

}  // namespace

/// y = act((x - center) * scale + offset + residual).
struct BatchNormForward {
  BatchNormShape shape;
  const void *x, *residual;  // residual or null
  void* y;
  const void *center, *scale, *offset;
  std::uint32_t* open;       // bits: where the ReLU passes its argument; only with a residual; see mask_bit
  bool relu, stream;         // stream: stores of y bypass the caches
  std::ptrdiff_t first_bit;  // of the mask, where the arrays are a piece of larger ones
};

/// Where the gradient passes a ReLU.
enum class BatchNormMask { none, recomputed, saved };

/// dz = dy where the ReLU is open; dx = ((dz - mean) - (x - center) * slope) * scale, or dz * scale where the
/// statistics are constants.
struct BatchNormBackward {
  BatchNormShape shape;
  const void *dy, *x;
  const std::uint32_t* open;  // for BatchNormMask::saved
  const void *center, *scale, *offset, *mean, *slope;
  BatchNormMask mask;
  bool frozen, stream;
  void *dx, *dz;  // dz or null
  std::ptrdiff_t first_bit;
};

using BatchMomentsFn = void (*)(const BatchNormShape&, const void* x, std::ptrdiff_t block,
                                std::ptrdiff_t channel_begin, std::ptrdiff_t channel_end, double* mean, double* m2);
using BatchSumsFn = void (*)(const BatchNormBackward&, std::ptrdiff_t block, std::ptrdiff_t channel_begin,
                             std::ptrdiff_t channel_end, double* sum, double* dot);
using BatchApplyFn = void (*)(const BatchNormForward&, const BatchNormRegion&);
using BatchGradientFn = void (*)(const BatchNormBackward&, const BatchNormRegion&);

/// Of one instruction set; indexed by DType. `mean`, `m2`, `sum` and `dot` are arrays over all channels.
struct BatchNormKernels {
  BatchMomentsFn moments[2];  // of one block: mean and sum of squared deviations
  BatchSumsFn sums[2];        // of one block: sum dz and sum dz * (x - center)
  BatchApplyFn apply[2];
  BatchGradientFn gradient[2];
};
FUSEDSTEP_TABLES(BatchNormKernels, batch_norm_kernels)

}  // namespace fusedstep
