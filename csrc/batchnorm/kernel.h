// Batch normalisation: the interface between the code compiled once and the code compiled for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "machine/level.h"

namespace fusedstep {

/// An array is seen as an array of the shape (outer, channels, inner) in C order. `outer` is the product of the sizes
/// before the axis of the channels, and `inner` is the product of the sizes after it. If the channels are the last
/// axis, `inner` is 1. Element (n, c, s) is at index (n * channels + c) * inner + s.
struct BatchNormShape {
  std::ptrdiff_t outer, channels, inner;
};

/// The order of the additions, which determines the bits of the statistics. In every layout, value j = n * inner + s of
/// a channel is added to lane (partial sum) j mod batch_lanes of block j / batch_block. The lanes of a block are added
/// pairwise. The sums of the blocks are added in order, in double.
constexpr int batch_lanes = 32;
constexpr std::ptrdiff_t batch_block = 1024;

/// The part of the elements that one call processes.
struct BatchNormRegion {
  std::ptrdiff_t channel_begin, channel_end, outer_begin, outer_end, inner_begin, inner_end;
};

// These functions are in an anonymous namespace, because several object files contain them.
namespace {

/// An array of coefficients has one number per channel, in the type in which kernels compute. If inner is 1, these
/// numbers are repeated, so that several rows can be processed as one long row. The array then has `coefficient_period`
/// numbers, and `coefficient_margin` more (the numbers of one vector).
constexpr std::ptrdiff_t coefficient_margin = 16;
constexpr std::ptrdiff_t coefficient_period(const BatchNormShape& s) {
  if (s.inner > 1) return s.channels;
  return s.channels * (s.channels <= 16 ? batch_lanes : s.channels < 64 ? 2 + 64 / s.channels : 1);
}

/// The index of an element's bit in the mask of the ReLU. Element (n, c, s) is element s of plane n * channels + c, and
/// each plane begins at the first bit of a 32-bit word. If inner is 1, `plane` is 0, `in_plane` is the element's index,
/// and each group of row_unit rows begins at the first bit of a word.
constexpr std::ptrdiff_t row_unit = 32;
constexpr std::ptrdiff_t mask_bit(const BatchNormShape& s, std::ptrdiff_t plane, std::ptrdiff_t in_plane) {
  return plane * ((s.inner + 31) / 32 * 32) + in_plane;
}
constexpr std::ptrdiff_t mask_words(const BatchNormShape& s) {
  const std::ptrdiff_t planes = s.outer * s.channels;
  return (s.inner > 1 ? mask_bit(s, planes, 0) : planes) / 32 + 2;
}

}  // namespace

/// y = (x - center) * scale + offset + residual. If `relu` is true, the ReLU is applied to y.
struct BatchNormForward {
  BatchNormShape shape;
  const void *x, *residual;  // residual may be null
  void* y;
  const void *center, *scale, *offset;
  std::uint32_t* open;       // only with residual and ReLU: a bit per element, 1 if the ReLU passed it; see mask_bit
  bool relu, stream;         // stream: stores of y bypass the caches
  std::ptrdiff_t first_bit;  // index of the first element's bit in `open`; 0 unless the arrays are parts of larger ones
};

/// How the gradient finds the elements that the ReLU has passed. `none`: there is no ReLU. `recomputed`: the input of
/// the ReLU is computed again. `saved`: the forward pass has saved the mask `open`.
enum class BatchNormMask { none, recomputed, saved };

/// dz = dy where the input of the ReLU is positive or nan, and 0 elsewhere. Without a ReLU, dz = dy.
/// dx = ((dz - mean) - (x - center) * slope) * scale. If `frozen` is true, the statistics are constants, and
/// dx = dz * scale. set_backward computes `mean` and `slope`.
struct BatchNormBackward {
  BatchNormShape shape;
  const void *dy, *x;
  const std::uint32_t* open;  // for BatchNormMask::saved
  const void *center, *scale, *offset, *mean, *slope;
  BatchNormMask mask;
  bool frozen, stream;
  void *dx, *dz;  // dz may be null
  std::ptrdiff_t first_bit;
};

using BatchMomentsFn = void (*)(const BatchNormShape&, const void* x, std::ptrdiff_t block,
                                std::ptrdiff_t channel_begin, std::ptrdiff_t channel_end, double* mean, double* m2);
using BatchSumsFn = void (*)(const BatchNormBackward&, std::ptrdiff_t block, std::ptrdiff_t channel_begin,
                             std::ptrdiff_t channel_end, double* sum, double* dot);
using BatchApplyFn = void (*)(const BatchNormForward&, const BatchNormRegion&);
using BatchGradientFn = void (*)(const BatchNormBackward&, const BatchNormRegion&);

/// The kernels of one instruction set, indexed by DType: float32, float64, bfloat16, float16. The arguments `mean`,
/// `m2`, `sum` and `dot` are arrays over all channels.
struct BatchNormKernels {
  BatchMomentsFn moments[4];  // the mean and the sum of squared deviations of one block
  BatchSumsFn sums[4];        // the sums of dz and of dz * (x - center) over one block
  BatchApplyFn apply[2];
  BatchGradientFn gradient[2];
};
FUSEDSTEP_TABLES(BatchNormKernels, batch_norm_kernels)

}  // namespace fusedstep
