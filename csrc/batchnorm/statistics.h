// The arithmetic of batch normalisation for each channel, in double. It merges the moments and sums of blocks, updates
// the running statistics, and computes the coefficients for the passes over the elements.
#pragma once

#include <cstdint>
#include <new>
#include <vector>

#include "batchnorm/kernel.h"
#include "formats/dtype.h"

namespace fusedstep {

/// The mean and the sum of squared deviations (m2) of `count` values per channel.
struct BatchMoments {
  std::int64_t count = 0;
  std::vector<double> mean, m2;
};

/// Merges the moments `other` into `into`.
void merge(BatchMoments& into, const BatchMoments& other) noexcept;

/// Two numbers for each block of values and each channel: mean and m2 in the forward pass, two sums in the backward
/// pass. merge_moments and add_sums combine the blocks in order.
struct BatchBlocks {
  explicit BatchBlocks(const BatchNormShape& shape);

  /// For channels [begin, end), merges the moments of all blocks into (mean, m2), which are the moments of `count`
  /// earlier values. If `count` is 0, mean and m2 may be the arrays of block 0.
  void merge_moments(std::ptrdiff_t begin, std::ptrdiff_t end, std::int64_t count, double* mean, double* m2);
  /// Adds the numbers of blocks 1, 2, ... to the numbers of block 0, for channels [begin, end).
  void add_sums(std::ptrdiff_t begin, std::ptrdiff_t end);

  double* first(std::ptrdiff_t block = 0) { return numbers_.data() + block * channels; }
  double* second(std::ptrdiff_t block = 0) { return first(count + block); }

  std::ptrdiff_t values, channels, count;  // values: per channel; count: number of blocks

 private:
  std::vector<double> numbers_;
};

/// Aligns arrays to the beginning of a cache line, so that no load of a full vector crosses the border of two lines.
template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t line{64};
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), line)); }
  void deallocate(T* p, std::size_t) noexcept { ::operator delete(p, line); }
  bool operator==(const LineAllocator&) const = default;
};
using CoefficientBytes = std::vector<unsigned char, LineAllocator<unsigned char>>;

/// The values that the forward pass saves for the backward pass. The coefficients `center`, `scale` and `offset` have
/// the type in which kernels compute.
struct BatchNormCoefficients {
  BatchNormCoefficients() = default;
  BatchNormCoefficients(const BatchNormShape& shape, DType dtype);
  std::vector<double> mean, invstd;  // the statistics that the forward pass has used
  CoefficientBytes center, scale, offset;
};

/// Arrays over channels, of the type in which kernels compute. Each pointer may be null.
struct BatchNormParameters {
  const void *gamma = nullptr, *beta = nullptr;
  void *running_mean = nullptr, *running_var = nullptr;
};

struct BatchNormOptions {
  bool training;
  double momentum, eps;  // momentum: the weight of this batch in the running statistics
};

/// With this momentum, the running statistics are the mean over all batches. `batches` is the number of earlier
/// batches.
inline double cumulative_momentum(std::int64_t batches) { return 1.0 / double(batches + 1); }

std::size_t coefficient_bytes(const BatchNormShape& shape, DType dtype);

/// Computes the coefficients of channels [begin, end). In training, they are computed from the merged moments, which
/// also update the running statistics. Otherwise they are computed from the running statistics.
void set_forward(DType dtype, const BatchNormParameters& p, const BatchNormOptions& options, BatchBlocks& moments,
                 std::ptrdiff_t begin, std::ptrdiff_t end, BatchNormCoefficients& out);

/// Arrays over channels, of the type in which kernels compute: the gradients of the parameters, which may be null, and
/// `mean` and `slope`, the coefficients of dx.
struct BatchNormGradients {
  void *dgamma, *dbeta, *mean, *slope;
};

/// Computes `out` for channels [begin, end) from the sums of dz and of dz (x - center).
void set_backward(DType dtype, const BatchNormCoefficients& k, BatchBlocks& sums, std::ptrdiff_t begin,
                  std::ptrdiff_t end, const BatchNormGradients& out);

}  // namespace fusedstep
