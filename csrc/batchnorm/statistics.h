// The mathematics of batch normalisation that is done once per channel, in double: moments and sums of blocks, running
// statistics, and the coefficients that the passes over the elements use.
#pragma once

#include <cstdint>
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

/// Two numbers per block of values and channel. They are added up in the order of blocks, into block 0's place.
struct BatchBlocks {
  explicit BatchBlocks(const BatchNormShape& shape);

  /// Adds moments, for channels [begin, end), to `count` values with moments (mean, m2), which may be block 0's place.
  void merge_moments(std::ptrdiff_t begin, std::ptrdiff_t end, std::int64_t count, double* mean, double* m2);
  void add_sums(std::ptrdiff_t begin, std::ptrdiff_t end);

  double* first(std::ptrdiff_t block = 0) { return numbers_.data() + block * channels; }
  double* second(std::ptrdiff_t block = 0) { return first(count + block); }

  std::ptrdiff_t values, channels, count;  // values per channel; blocks

 private:
  std::vector<double> numbers_;
};

/// The values that the forward pass saves for the backward pass. Coefficients are of the type that is computed in.
struct BatchNormCoefficients {
  BatchNormCoefficients() = default;
  BatchNormCoefficients(const BatchNormShape& shape, DType dtype);
  std::vector<double> mean, invstd;  // in double, of the statistics used
  std::vector<unsigned char> center, scale, offset;
};

/// Per-channel arrays of the type that is computed in; each may be null.
struct BatchNormParameters {
  const void *gamma = nullptr, *beta = nullptr;
  void *running_mean = nullptr, *running_var = nullptr;
};

struct BatchNormOptions {
  bool training;
  double momentum, eps;  // momentum: weight of this batch in the running statistics
};

/// The momentum that makes the running statistics the mean over all batches, of which so many came before.
inline double cumulative_momentum(std::int64_t batches) { return 1.0 / double(batches + 1); }

std::size_t coefficient_bytes(const BatchNormShape& shape, DType dtype);

/// In training from the merged moments, which go into the running statistics too; else from the running statistics.
void set_forward(DType dtype, const BatchNormParameters& p, const BatchNormOptions& options, BatchBlocks& moments,
                 std::ptrdiff_t begin, std::ptrdiff_t end, BatchNormCoefficients& out);

/// Per-channel arrays of the type that is computed in: gradients of the parameters, which may be null, and the
/// coefficients of dx.
struct BatchNormGradients {
  void *dgamma, *dbeta, *mean, *slope;
};

/// From the sums of dz and of dz (x - center).
void set_backward(DType dtype, const BatchNormCoefficients& k, BatchBlocks& sums, std::ptrdiff_t begin,
                  std::ptrdiff_t end, const BatchNormGradients& out);

}  // namespace fusedstep
