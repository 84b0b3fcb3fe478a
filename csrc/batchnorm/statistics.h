// The mathematics of batch normalisation per channel, in double: moments and sums of blocks, running statistics, and
// the coefficients of the passes over the elements.
#pragma once

#include <cstdint>
#include <new>
#include <vector>

#include "batchnorm/kernel.h"
#include "formats/dtype.h"

namespace fusedstep {

/// Mean and sum of squared deviations of `count` values per channel.
struct BatchMoments {
  std::int64_t count = 0;
  std::vector<double> mean, m2;
};

/// Merges the moments `other` into `into`.
void merge(BatchMoments& into, const BatchMoments& other) noexcept;

/// Two numbers per block of values and channel. They are added up in the order of blocks; the result is in block 0.
struct BatchBlocks {
  explicit BatchBlocks(const BatchNormShape& shape);

  /// For channels [begin, end), adds the blocks' moments to `count` values with moments (mean, m2), which may be block
  /// 0's.
  void merge_moments(std::ptrdiff_t begin, std::ptrdiff_t end, std::int64_t count, double* mean, double* m2);
  void add_sums(std::ptrdiff_t begin, std::ptrdiff_t end);

  double* first(std::ptrdiff_t block = 0) { return numbers_.data() + block * channels; }
  double* second(std::ptrdiff_t block = 0) { return first(count + block); }

  std::ptrdiff_t values, channels, count;  // values per channel; blocks

 private:
  std::vector<double> numbers_;
};

/// Puts arrays at the beginning of a cache line, so that no load of a whole vector crosses one.
template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t line{64};
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), line)); }
  void deallocate(T* p, std::size_t) noexcept { ::operator delete(p, line); }
  bool operator==(const LineAllocator&) const = default;
};
using CoefficientBytes = std::vector<unsigned char, LineAllocator<unsigned char>>;

/// The values that the forward pass saves for the backward pass. Coefficients have the computing type.
struct BatchNormCoefficients {
  BatchNormCoefficients() = default;
  BatchNormCoefficients(const BatchNormShape& shape, DType dtype);
  std::vector<double> mean, invstd;  // in double; of the statistics that were used
  CoefficientBytes center, scale, offset;
};

/// Arrays over channels of the computing type; each may be null.
struct BatchNormParameters {
  const void *gamma = nullptr, *beta = nullptr;
  void *running_mean = nullptr, *running_var = nullptr;
};

struct BatchNormOptions {
  bool training;
  double momentum, eps;  // momentum: the weight of this batch in the running statistics
};

/// The momentum with which the running statistics are the mean over all batches; `batches` is the number of earlier
/// ones.
inline double cumulative_momentum(std::int64_t batches) { return 1.0 / double(batches + 1); }

std::size_t coefficient_bytes(const BatchNormShape& shape, DType dtype);

/// Sets the coefficients. In training they come from the merged moments, which also update the running statistics; else
/// they come from the running statistics.
void set_forward(DType dtype, const BatchNormParameters& p, const BatchNormOptions& options, BatchBlocks& moments,
                 std::ptrdiff_t begin, std::ptrdiff_t end, BatchNormCoefficients& out);

/// Arrays over channels of the computing type: gradients of the parameters, which may be null, and the coefficients of
/// dx.
struct BatchNormGradients {
  void *dgamma, *dbeta, *mean, *slope;
};

/// Computes them from the sums of dz and of dz (x - center).
void set_backward(DType dtype, const BatchNormCoefficients& k, BatchBlocks& sums, std::ptrdiff_t begin,
                  std::ptrdiff_t end, const BatchNormGradients& out);

}  // namespace fusedstep
