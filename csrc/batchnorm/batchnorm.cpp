#include "batchnorm/batchnorm.h"

#include <algorithm>

#include "batchnorm/halves.h"
#include "machine/parallel.h"

namespace fusedstep {
namespace {

constexpr std::ptrdiff_t channel_bytes = 512 << 10;  // a slice of channels of this size stays in a second-level cache
/// If an output has at least this many bytes, stores that bypass the caches (streaming stores) are faster. The measured
/// time includes the next read of the output.
constexpr std::ptrdiff_t streaming_bytes = 12 << 20;

/// The number of channels in a slice. A thread computes the sums of a slice and then reads the slice again, while it is
/// still cached. Returns 0, which means no slices, if the slices cannot be divided evenly among threads. Also returns 0
/// if inner is 1. The array then consists of rows with one element per channel. If the length of a row is a power of
/// two, the slice's part of each row falls into the same few sets of a cache. Slices were measured to be 4 times slower
/// than no slices in this case.
std::ptrdiff_t channel_slice(const BatchNormShape& s, std::ptrdiff_t item, int threads) {
  if (s.inner == 1) return 0;
  const std::ptrdiff_t fitting = channel_bytes / (s.outer * s.inner * item),
                       wide = (256 + s.inner * item - 1) / (s.inner * item);
  const std::ptrdiff_t slice = std::max<std::ptrdiff_t>(1, std::max(wide, std::min(fitting, s.channels / threads)));
  const std::ptrdiff_t units = (s.channels + slice - 1) / slice;
  return units % threads == 0 || units >= 8 * threads ? slice : 0;
}

}  // namespace

BatchNormPass::BatchNormPass(const BatchNormShape& shape, DType dtype, int threads)
    : shape_(shape),
      dtype_(dtype),
      number_(computed_in(dtype)),
      threads_(useful_threads(shape.outer * shape.inner * shape.channels, threads)),
      slice_(channel_slice(shape, std::ptrdiff_t(item_size(dtype)), threads_)),
      blocks_(shape),
      mean_(coefficient_bytes(shape, number_)),
      slope_(mean_.size()) {}

bool BatchNormPass::worth_streaming() const {
  return shape_.outer * shape_.inner * shape_.channels * std::ptrdiff_t(item_size(dtype_)) >= streaming_bytes;
}

/// Repeats the channels' values so that several rows are processed as one.
void BatchNormPass::repeat(CoefficientBytes& coefficients) const {
  if (shape_.inner > 1) return;
  const std::size_t once = std::size_t(shape_.channels) * std::size_t(item_size(number_));
  for (std::size_t at = once; at < coefficients.size(); at += once)
    std::copy_n(coefficients.begin(), std::min(once, coefficients.size() - at),
                coefficients.begin() + std::ptrdiff_t(at));
}

/// Calls sums(block, begin, end) for every block of values of the channels [begin, end), then finish(begin, end), then
/// apply(region). With slices, the three functions are called for one slice of channels, then for the next slice.
/// Without slices, each function is called for all channels before the next function. The order of every sum is the
/// same with and without slices.
template <class Sums, class Finish, class Apply>
void BatchNormPass::run(const Sums& sums, const Finish& finish, const Apply& apply) noexcept {
  const std::ptrdiff_t channels = shape_.channels;
  if (slice_ > 0) {
    parallel_for((channels + slice_ - 1) / slice_, threads_, [&](std::int64_t first, std::int64_t last) {
      for (std::ptrdiff_t c = first * slice_; c < std::min(last * slice_, channels); c += slice_) {
        const std::ptrdiff_t end = std::min(c + slice_, channels);
        for (std::ptrdiff_t block = 0; block < blocks_.count; ++block) sums(block, c, end);
        finish(c, end);
        apply({c, end, 0, shape_.outer, 0, shape_.inner});
      }
    });
    return;
  }
  const std::ptrdiff_t step = shape_.inner > 1 ? 1 : 256 / std::ptrdiff_t(item_size(dtype_));
  const std::ptrdiff_t steps = (channels + step - 1) / step;
  parallel_for(steps * blocks_.count, threads_, [&](std::int64_t first, std::int64_t last) {
    for (std::ptrdiff_t k = first; k < last; ++k) {  // in memory order
      const std::ptrdiff_t block = step == 1 ? k % blocks_.count : k / steps,
                           c = (step == 1 ? k / blocks_.count : k % steps) * step;
      sums(block, c, std::min(c + step, channels));
    }
  });
  finish(0, channels);
  apply_all(apply);
}

template <class Apply>
void BatchNormPass::apply_all(const Apply& apply) noexcept {
  const BatchNormShape& s = shape_;
  const bool along_outer = s.outer >= s.inner || s.outer >= 8 * threads_;
  const std::ptrdiff_t n = along_outer ? s.outer : s.inner, unit = along_outer && s.inner > 1 ? 1 : row_unit;
  parallel_for((n + unit - 1) / unit, threads_, [&](std::int64_t first, std::int64_t last) {
    const std::ptrdiff_t begin = first * unit, end = std::min(last * unit, n);
    apply(along_outer ? BatchNormRegion{0, s.channels, begin, end, 0, s.inner}
                      : BatchNormRegion{0, s.channels, 0, s.outer, begin, end});
  });
}

void BatchNormPass::forward(BatchNormForward f, const BatchNormParameters& p, const BatchNormOptions& options,
                            BatchNormCoefficients& out) noexcept {
  f.shape = shape_, f.stream = worth_streaming();
  f.center = out.center.data(), f.scale = out.scale.data(), f.offset = out.offset.data();
  const auto moments = [&](std::ptrdiff_t block, std::ptrdiff_t begin, std::ptrdiff_t end) {
    block_moments(f.x, block, begin, end);
  };
  const auto finish = [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    if (options.training) blocks_.merge_moments(begin, end, 0, blocks_.first(), blocks_.second());
    set_forward(number_, p, options, blocks_, begin, end, out);
    repeat(out.center), repeat(out.scale), repeat(out.offset);
  };
  const auto apply = [&](const BatchNormRegion& region) {
    if (is_half(dtype_)) return HalfBatchNorm(dtype_).apply(f, region);
    batch_norm_kernels().apply[int(dtype_)](f, region);
  };
  if (options.training) return run(moments, finish, apply);
  finish(0, shape_.channels);
  apply_all(apply);
}

void BatchNormPass::backward(BatchNormBackward b, const BatchNormCoefficients& k, void* dgamma, void* dbeta) noexcept {
  const bool same_phase = !b.dz || (static_cast<char*>(b.dz) - static_cast<char*>(b.dx)) % 64 == 0;
  b.shape = shape_, b.stream = worth_streaming() && same_phase;
  b.center = k.center.data(), b.scale = k.scale.data(), b.offset = k.offset.data();
  b.mean = mean_.data(), b.slope = slope_.data();
  run(
      [&](std::ptrdiff_t block, std::ptrdiff_t begin, std::ptrdiff_t end) {
        double *const sum = blocks_.first(block), *const dot = blocks_.second(block);
        batch_norm_kernels().sums[int(dtype_)](b, block, begin, end, sum, dot);
      },
      [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
        blocks_.add_sums(begin, end);
        set_backward(number_, k, blocks_, begin, end, {dgamma, dbeta, mean_.data(), slope_.data()});
        repeat(mean_), repeat(slope_);
      },
      [&](const BatchNormRegion& region) {
        if (is_half(dtype_)) return HalfBatchNorm(dtype_).gradient(b, region);
        batch_norm_kernels().gradient[int(dtype_)](b, region);
      });
}

void BatchNormPass::block_moments(const void* x, std::ptrdiff_t block, std::ptrdiff_t begin, std::ptrdiff_t end) {
  double *const mean = blocks_.first(block), *const m2 = blocks_.second(block);
  batch_norm_kernels().moments[int(dtype_)](shape_, x, block, begin, end, mean, m2);
}

void BatchNormPass::moments(const void* x, BatchMoments& out) noexcept {
  run([&](std::ptrdiff_t block, std::ptrdiff_t begin, std::ptrdiff_t end) { block_moments(x, block, begin, end); },
      [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
        blocks_.merge_moments(begin, end, out.count, out.mean.data(), out.m2.data());
      },
      [](const BatchNormRegion&) {});
  out.count += blocks_.values;
}

}  // namespace fusedstep
