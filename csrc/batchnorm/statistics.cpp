#include "batchnorm/statistics.h"

#include <algorithm>
#include <cmath>

namespace fusedstep {
namespace {

/// The update of Chan, Golub and LeVeque (1979). The moments of some values are their mean and m2, which is the sum of
/// their squared distances from the mean. The first na values have the moments (mean, m2); nb values with the moments
/// (mean_b, m2_b) are added to them. `share` is nb / (na + nb).
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

/// running <- (1 - momentum) running + momentum batch. If the weight of a term is 0, the term is 0, even if its value
/// is inf or nan.
template <class T>
void update(void* running, double momentum, double batch, std::ptrdiff_t c) {
  const double before = item<T>(running, c, 0);
  const double old = momentum == 1 ? 0 : (1 - momentum) * before, now = momentum == 0 ? 0 : momentum * batch;
  set_item<T>(running, c, old + now);
}

/// `unbiased` is the unbiased variance of the batch.
template <class T>
void update_running(const BatchNormParameters& p, double momentum, double mean, double unbiased, std::ptrdiff_t c) {
  update<T>(p.running_mean, momentum, mean, c);
  update<T>(p.running_var, momentum, unbiased, c);
}

/// Sets the coefficients of y = (x - center) scale + offset. The center is the mean, rounded to T. The offset corrects
/// the rounding error of the center.
template <class T>
void set_coefficients(const BatchNormParameters& p, BatchNormCoefficients& out, std::ptrdiff_t c) {
  const auto k = std::size_t(c);
  const double scale = item<T>(p.gamma, c, 1) * out.invstd[k];
  const T center = T(out.mean[k]);
  set_item<T>(out.center.data(), c, double(center));
  set_item<T>(out.scale.data(), c, scale);
  set_item<T>(out.offset.data(), c, item<T>(p.beta, c, 0) - (out.mean[k] - double(center)) * scale);
}

template <class T>
void set_statistics(const BatchNormParameters& p, const BatchNormOptions& options, BatchBlocks& moments,
                    std::ptrdiff_t c, BatchNormCoefficients& out) {
  double mean = item<T>(p.running_mean, c, 0), variance = item<T>(p.running_var, c, 1);
  if (options.training) {
    const double n = double(moments.values), m2 = moments.second()[c];
    mean = moments.first()[c], variance = m2 / n;
    update_running<T>(p, options.momentum, mean, m2 / (n - 1), c);
  }
  out.mean[std::size_t(c)] = mean, out.invstd[std::size_t(c)] = 1 / std::sqrt(variance + options.eps);
  set_coefficients<T>(p, out, c);
}

/// Sets the coefficients of dx = gamma invstd (dz - sum / n - xhat dgamma / n), with xhat = (x - mean) invstd. `sum` is
/// the sum of dz over the n values of channel c, and `dot` is the sum of dz (x - center). The kernel multiplies `slope`
/// by x - center, not by x - mean. Therefore out.mean is not exactly sum / n.
template <class T>
void set_gradients(const BatchNormCoefficients& k, std::ptrdiff_t c, double n, double sum, double dot,
                   const BatchNormGradients& out) {
  const double invstd = k.invstd[std::size_t(c)], low = k.mean[std::size_t(c)] - item<T>(k.center.data(), c, 0);
  const double gradient = (dot - low * sum) * invstd, steep = gradient * invstd / n;
  set_item<T>(out.dgamma, c, gradient);
  set_item<T>(out.dbeta, c, sum);
  set_item<T>(out.slope, c, steep);
  set_item<T>(out.mean, c, sum / n - low * steep);
}

}  // namespace

void merge(BatchMoments& into, const BatchMoments& other) noexcept {
  if (other.count == 0) return;
  const double na = double(into.count), nb = double(other.count), share = nb / (na + nb);
  for (std::size_t c = 0; c < into.mean.size(); ++c)
    chan(into.mean[c], into.m2[c], other.mean[c], other.m2[c], na, share);
  into.count += other.count;
}

BatchBlocks::BatchBlocks(const BatchNormShape& shape)
    : values(shape.outer * shape.inner),
      channels(shape.channels),
      count((values + batch_block - 1) / batch_block),
      numbers_(std::size_t(2 * count * channels)) {}

void BatchBlocks::merge_moments(std::ptrdiff_t begin, std::ptrdiff_t end, std::int64_t before, double* mean,
                                double* m2) {
  double na = double(before);
  for (std::ptrdiff_t block = 0; block < count; ++block) {
    const double nb = double(std::min(values - block * batch_block, batch_block)), share = nb / (na + nb);
    const double *const mean_b = first(block), *const m2_b = second(block);
    for (std::ptrdiff_t c = begin; c < end; ++c)
      if (na == 0)
        mean[c] = mean_b[c], m2[c] = m2_b[c];
      else
        chan(mean[c], m2[c], mean_b[c], m2_b[c], na, share);
    na += nb;
  }
}

void BatchBlocks::add_sums(std::ptrdiff_t begin, std::ptrdiff_t end) {
  for (std::ptrdiff_t block = 1; block < count; ++block)
    for (std::ptrdiff_t c = begin; c < end; ++c) {
      first()[c] += first(block)[c];
      second()[c] += second(block)[c];
    }
}

std::size_t coefficient_bytes(const BatchNormShape& shape, DType dtype) {
  return std::size_t(coefficient_period(shape) + coefficient_margin) * item_size(dtype);
}

BatchNormCoefficients::BatchNormCoefficients(const BatchNormShape& shape, DType dtype)
    : mean(std::size_t(shape.channels)),
      invstd(mean.size()),
      center(coefficient_bytes(shape, computed_in(dtype))),
      scale(center.size()),
      offset(center.size()) {}

void set_forward(DType dtype, const BatchNormParameters& p, const BatchNormOptions& options, BatchBlocks& moments,
                 std::ptrdiff_t begin, std::ptrdiff_t end, BatchNormCoefficients& out) {
  const auto set = dtype == DType::f32 ? set_statistics<float> : set_statistics<double>;
  for (std::ptrdiff_t c = begin; c < end; ++c) set(p, options, moments, c, out);
}

void set_backward(DType dtype, const BatchNormCoefficients& k, BatchBlocks& sums, std::ptrdiff_t begin,
                  std::ptrdiff_t end, const BatchNormGradients& out) {
  const auto set = dtype == DType::f32 ? set_gradients<float> : set_gradients<double>;
  const double n = double(sums.values);
  for (std::ptrdiff_t c = begin; c < end; ++c) set(k, c, n, sums.first()[c], sums.second()[c], out);
}

}  // namespace fusedstep
