#include "batchnorm/batchnorm.h"

#include <algorithm>
#include <cmath>

#include "machine/parallel.h"

namespace fusedstep {
namespace {

constexpr std::ptrdiff_t elements_per_thread = 16384;  // from which a thread pays for its start
constexpr std::ptrdiff_t channel_bytes = 512 << 10;    // of a slice of channels that stays in a second-level cache
constexpr std::ptrdiff_t streaming_bytes = 12
                                           << 20;  // of an output; from here streaming wins, its reader's time included

/// One update of Chan, Golub and LeVeque: nb values with (mean_b, m2_b) join na values. `share` is nb / (na + nb).
inline void chan(double& mean, double& m2, double mean_b, double m2_b, double na, double share) {
  const double delta = mean_b - mean;
  mean += delta * share;
  m2 += m2_b + delta * delta * (na * share);
}

template <class T>
double item(const void* array, std::ptrdiff_t c, double otherwise) {
  return array ? double(static_cast<const T*>(array)[c]) : otherwise;
}

template <class T>
void set_item(void* array, std::ptrdiff_t c, double value) {
  if (array) static_cast<T*>(array)[c] = T(value);
}

template <class T>
void use_running(const BatchNormParameters& p, double eps, BatchNormCoefficients& out, std::ptrdiff_t c) {
  out.mean[std::size_t(c)] = item<T>(p.running_mean, c, 0);
  out.invstd[std::size_t(c)] = 1 / std::sqrt(item<T>(p.running_var, c, 1) + eps);
}

/// running <- (1 - momentum) running + momentum batch, the variance unbiased.
template <class T>
void update_running(const BatchNormParameters& p, double momentum, double mean, double unbiased, std::ptrdiff_t c) {
  set_item<T>(p.running_mean, c, (1 - momentum) * item<T>(p.running_mean, c, 0) + momentum * mean);
  set_item<T>(p.running_var, c, (1 - momentum) * item<T>(p.running_var, c, 0) + momentum * unbiased);
}

/// y = (x - center) scale + offset, where the center is the rounded mean: what rounding took off goes to the offset.
template <class T>
void set_coefficients(const BatchNormParameters& p, BatchNormCoefficients& out, std::ptrdiff_t c) {
  const auto k = std::size_t(c);
  const double scale = item<T>(p.gamma, c, 1) * out.invstd[k];
  const T center = T(out.mean[k]);
  set_item<T>(out.center.data(), c, double(center));
  set_item<T>(out.scale.data(), c, scale);
  set_item<T>(out.offset.data(), c, item<T>(p.beta, c, 0) - (out.mean[k] - double(center)) * scale);
}

/// dx = gamma invstd (dz - sum / n - xhat dgamma / n), with xhat = (x - mean) invstd, as coefficients of x - center.
template <class T>
void set_gradients(const BatchNormCoefficients& k, std::ptrdiff_t c, double n, double sum, double dot, void* dgamma,
                   void* dbeta, void* mean, void* slope) {
  const double invstd = k.invstd[std::size_t(c)], low = k.mean[std::size_t(c)] - item<T>(k.center.data(), c, 0);
  const double gradient = (dot - low * sum) * invstd, steep = gradient * invstd / n;
  set_item<T>(dgamma, c, gradient);
  set_item<T>(dbeta, c, sum);
  set_item<T>(slope, c, steep);
  set_item<T>(mean, c, sum / n - low * steep);
}

/// Channels per unit of work, so that what the sums read is still in the cache when it is read again; 0 where the
/// channels cannot be shared out evenly, and where they lie side by side (slices of rows whose length is a power of two
/// fall on few lines of a cache: measured 4 times slower).
std::ptrdiff_t channel_slice(const BatchNormShape& s, std::ptrdiff_t item, int threads) {
  if (s.inner == 1) return 0;
  const std::ptrdiff_t fitting = channel_bytes / (s.outer * s.inner * item),
                       wide = (256 + s.inner * item - 1) / (s.inner * item);
  const std::ptrdiff_t slice = std::max<std::ptrdiff_t>(1, std::max(wide, std::min(fitting, s.channels / threads)));
  const std::ptrdiff_t units = (s.channels + slice - 1) / slice;
  return units % threads == 0 || units >= 8 * threads ? slice : 0;
}

std::size_t coefficient_bytes(const BatchNormShape& shape, DType dtype) {
  return std::size_t(coefficient_period(shape) + coefficient_margin) * item_size(dtype);
}

}  // namespace

BatchNormCoefficients::BatchNormCoefficients(const BatchNormShape& shape, DType dtype)
    : mean(std::size_t(shape.channels)),
      invstd(mean.size()),

      center(coefficient_bytes(shape, dtype)),
      scale(center.size()),
      offset(center.size()) {}

BatchNormPass::BatchNormPass(const BatchNormShape& shape, DType dtype, int threads)
    : shape_(shape),
      dtype_(dtype),
      blocks_((shape.outer * shape.inner + batch_block - 1) / batch_block),
      first_(std::size_t(blocks_ * shape.channels)),
      second_(first_.size()),
      mean_(coefficient_bytes(shape, dtype)),
      slope_(mean_.size()) {
  const std::ptrdiff_t elements = shape.outer * shape.inner * shape.channels;
  threads_ = int(std::clamp<std::ptrdiff_t>(elements / elements_per_thread, 1, threads));
  slice_ = channel_slice(shape, std::ptrdiff_t(item_size(dtype)), threads_);
}

bool BatchNormPass::worth_streaming() const {
  return shape_.outer * shape_.inner * shape_.channels * std::ptrdiff_t(item_size(dtype_)) >= streaming_bytes;
}

/// Copies the channels' values as often as rows of them are walked.
void BatchNormPass::repeat(std::vector<unsigned char>& coefficients) const {
  if (shape_.inner > 1) return;
  const std::size_t once = std::size_t(shape_.channels) * item_size(dtype_);
  for (std::size_t at = once; at < coefficients.size(); at += once)
    std::copy_n(coefficients.begin(), std::min(once, coefficients.size() - at),
                coefficients.begin() + std::ptrdiff_t(at));
}

/// sums(block, channels), then finish(channels), then apply(region) on everything: slice of channels by slice, or
/// one after the other. The order of no sum depends on which.
template <class Sums, class Finish, class Apply>
void BatchNormPass::run(const Sums& sums, const Finish& finish, const Apply& apply) noexcept {
  const std::ptrdiff_t channels = shape_.channels;
  if (slice_ > 0) {
    parallel_for((channels + slice_ - 1) / slice_, threads_, [&](std::int64_t first, std::int64_t last) {
      for (std::ptrdiff_t c = first * slice_; c < std::min(last * slice_, channels); c += slice_) {
        const std::ptrdiff_t end = std::min(c + slice_, channels);
        for (std::ptrdiff_t block = 0; block < blocks_; ++block) sums(block, c, end);
        finish(c, end);
        apply({c, end, 0, shape_.outer, 0, shape_.inner});
      }
    });
    return;
  }
  const std::ptrdiff_t step = shape_.inner > 1 ? 1 : 256 / std::ptrdiff_t(item_size(dtype_));
  const std::ptrdiff_t steps = (channels + step - 1) / step;
  parallel_for(steps * blocks_, threads_, [&](std::int64_t first, std::int64_t last) {
    for (std::ptrdiff_t k = first; k < last; ++k) {  // in the order of memory
      const std::ptrdiff_t block = step == 1 ? k % blocks_ : k / steps,
                           c = (step == 1 ? k / blocks_ : k % steps) * step;
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

/// Adds the blocks in order to `count` values with moments (mean, m2), which may be block 0's own place.
void BatchNormPass::merge_moments(std::ptrdiff_t begin, std::ptrdiff_t end, std::int64_t count, double* mean,
                                  double* m2) {
  const std::ptrdiff_t values = shape_.outer * shape_.inner;
  double na = double(count);
  for (std::ptrdiff_t block = 0; block < blocks_; ++block) {
    const double nb = double(std::min(values - block * batch_block, batch_block)), share = nb / (na + nb);
    const double* const mean_b = first_.data() + block * shape_.channels;
    const double* const m2_b = second_.data() + block * shape_.channels;
    for (std::ptrdiff_t c = begin; c < end; ++c)
      if (na == 0)
        mean[c] = mean_b[c], m2[c] = m2_b[c];
      else
        chan(mean[c], m2[c], mean_b[c], m2_b[c], na, share);
    na += nb;
  }
}

void BatchNormPass::merge_sums(std::ptrdiff_t begin, std::ptrdiff_t end) {
  for (std::ptrdiff_t block = 1; block < blocks_; ++block)
    for (std::ptrdiff_t c = begin; c < end; ++c) {
      first_[std::size_t(c)] += first_[std::size_t(block * shape_.channels + c)];
      second_[std::size_t(c)] += second_[std::size_t(block * shape_.channels + c)];
    }
}

void BatchNormPass::forward(BatchNormForward f, const BatchNormParameters& p, const BatchNormOptions& options,
                            BatchNormCoefficients& out) noexcept {
  const BatchNormKernels& kernel = batch_norm_kernels();
  const int type = int(dtype_);
  const double n = double(shape_.outer * shape_.inner);
  f.shape = shape_, f.stream = worth_streaming();
  f.center = out.center.data(), f.scale = out.scale.data(), f.offset = out.offset.data();
  const auto statistics = [&](auto zero, std::ptrdiff_t c) {
    using T = decltype(zero);
    if (options.training) {
      const double mean = first_[std::size_t(c)], m2 = second_[std::size_t(c)];
      out.mean[std::size_t(c)] = mean, out.invstd[std::size_t(c)] = 1 / std::sqrt(m2 / n + options.eps);
      update_running<T>(p, options.momentum, mean, m2 / (n - 1), c);
    } else {
      use_running<T>(p, options.eps, out, c);
    }
    set_coefficients<T>(p, out, c);
  };
  const auto finish = [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    if (options.training) merge_moments(begin, end, 0, first_.data(), second_.data());
    for (std::ptrdiff_t c = begin; c < end; ++c) dtype_ == DType::f32 ? statistics(0.0f, c) : statistics(0.0, c);
    repeat(out.center), repeat(out.scale), repeat(out.offset);
  };
  const auto apply = [&](const BatchNormRegion& region) { kernel.apply[type](f, region); };
  if (options.training)
    return run(
        [&](std::ptrdiff_t block, std::ptrdiff_t begin, std::ptrdiff_t end) {
          kernel.moments[type](shape_, f.x, block, begin, end, first_.data() + block * shape_.channels,
                               second_.data() + block * shape_.channels);
        },
        finish, apply);
  finish(0, shape_.channels);
  apply_all(apply);
}

void BatchNormPass::backward(BatchNormBackward b, const BatchNormCoefficients& k, void* dgamma, void* dbeta) noexcept {
  const BatchNormKernels& kernel = batch_norm_kernels();
  const int type = int(dtype_);
  const double n = double(shape_.outer * shape_.inner);
  const bool same_phase = !b.dz || (static_cast<char*>(b.dz) - static_cast<char*>(b.dx)) % 64 == 0;
  b.shape = shape_, b.stream = worth_streaming() && same_phase;
  b.center = k.center.data(), b.scale = k.scale.data(), b.offset = k.offset.data();
  b.mean = mean_.data(), b.slope = slope_.data();
  run(
      [&](std::ptrdiff_t block, std::ptrdiff_t begin, std::ptrdiff_t end) {
        kernel.sums[type](b, block, begin, end, first_.data() + block * shape_.channels,
                          second_.data() + block * shape_.channels);
      },
      [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
        merge_sums(begin, end);
        const auto set = dtype_ == DType::f32 ? set_gradients<float> : set_gradients<double>;
        for (std::ptrdiff_t c = begin; c < end; ++c)
          set(k, c, n, first_[std::size_t(c)], second_[std::size_t(c)], dgamma, dbeta, mean_.data(), slope_.data());
        repeat(mean_), repeat(slope_);
      },
      [&](const BatchNormRegion& region) { kernel.gradient[type](b, region); });
}

void BatchNormPass::moments(const void* x, BatchMoments& out) noexcept {
  const BatchMomentsFn fn = batch_norm_kernels().moments[int(dtype_)];
  run(
      [&](std::ptrdiff_t block, std::ptrdiff_t begin, std::ptrdiff_t end) {
        fn(shape_, x, block, begin, end, first_.data() + block * shape_.channels,
           second_.data() + block * shape_.channels);
      },
      [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
        merge_moments(begin, end, out.count, out.mean.data(), out.m2.data());
      },
      [](const BatchNormRegion&) {});
  out.count += shape_.outer * shape_.inner;
}

void merge(BatchMoments& into, const BatchMoments& other) noexcept {
  if (other.count == 0) return;
  const double na = double(into.count), nb = double(other.count), share = nb / (na + nb);
  for (std::size_t c = 0; c < into.mean.size(); ++c)
    chan(into.mean[c], into.m2[c], other.mean[c], other.m2[c], na, share);
  into.count += other.count;
}

}  // namespace fusedstep
