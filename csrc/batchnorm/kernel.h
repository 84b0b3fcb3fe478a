// The interface between the code compiled once and the code compiled per instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "machine/level.h"

namespace fusedstep {

/// Element (n, c, s) is at index (n * channels + c) * inner + s. For N, C, ... inner > 1; for channels last inner = 1.
struct BatchNormShape {
  std::ptrdiff_t outer, channels, inner;
};

/// The order of the statistics' sums, which determines their bits. Value j = n * inner + s of a channel, in any layout,
/// goes to lane j mod batch_lanes of block j / batch_block. Lanes are added pairwise, blocks in order, in double.
constexpr int batch_lanes = 32;
constexpr std::ptrdiff_t batch_block = 1024;

/// The part of the data for one call.
struct BatchNormRegion {
  std::ptrdiff_t channel_begin, channel_end, outer_begin, outer_end, inner_begin, inner_end;
};

// In an anonymous namespace, because several objects compile them.
namespace {

/// Coefficients are arrays over channels of the data's type. If inner is 1, they are repeated with this period, and up
/// to one vector beyond it, so that several rows can be processed as one.
constexpr std::ptrdiff_t coefficient_margin = 16;
constexpr std::ptrdiff_t coefficient_period(const BatchNormShape& s) {
  if (s.inner > 1) return s.channels;
  return s.channels * (s.channels <= 16 ? batch_lanes : s.channels < 64 ? 2 + 64 / s.channels : 1);
}

/// The index of the bit of element (plane, s) or, if inner is 1, of (0, element). The first bit of a plane, and of
/// row_unit rows, begins a word.
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
  std::uint32_t* open;       // one bit per element: did the ReLU pass it? only with a residual; see mask_bit
  bool relu, stream;         // stream: stores of y bypass the caches
  std::ptrdiff_t first_bit;  // index of the arrays' first bit in the mask, if they are a part of larger ones
};

/// How the gradient finds the elements that a ReLU has passed.
enum class BatchNormMask { none, recomputed, saved };

/// dz = dy where the ReLU passed its argument, else 0. dx = ((dz - mean) - (x - center) * slope) * scale, or dz * scale
/// if the statistics are constants.
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

/// The table of one instruction set; indexed by DType: float32, float64, bfloat16, float16. `mean`, `m2`, `sum` and
/// `dot` are arrays over all channels.
struct BatchNormKernels {
  BatchMomentsFn moments[4];  // of one block: mean and sum of squared deviations
  BatchSumsFn sums[4];        // of one block: sum dz and sum dz * (x - center)
  BatchApplyFn apply[2];
  BatchGradientFn gradient[2];
};
FUSEDSTEP_TABLES(BatchNormKernels, batch_norm_kernels)

}  // namespace fusedstep
