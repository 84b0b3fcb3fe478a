// Batch normalisation over threads and caches: what is computed in which order, never how.
#pragma once

#include <cstdint>
#include <vector>

#include "batchnorm/kernel.h"
#include "formats/dtype.h"

namespace fusedstep {

/// Mean and sum of squared deviations of `count` values per channel, merged as Chan, Golub and LeVeque (1979) do.
struct BatchMoments {
  std::int64_t count = 0;
  std::vector<double> mean, m2;
};

/// What the forward pass leaves for the backward pass. Coefficients hold items of the data's type.
struct BatchNormCoefficients {
  BatchNormCoefficients() = default;
  BatchNormCoefficients(const BatchNormShape& shape, DType dtype);
  std::vector<double> mean, invstd;  // in double, of the statistics used
  std::vector<unsigned char> center, scale, offset;
};

/// Per-channel arrays of the data's type; each may be null.
struct BatchNormParameters {
  const void *gamma = nullptr, *beta = nullptr;
  void *running_mean = nullptr, *running_var = nullptr;
};

struct BatchNormOptions {
  bool training;
  double momentum, eps;  // momentum: weight of this batch in the running statistics
};

/// Allocates when built; after that it cannot fail.
class BatchNormPass {
 public:
  BatchNormPass(const BatchNormShape& shape, DType dtype, int threads);

  void forward(BatchNormForward f, const BatchNormParameters& parameters, const BatchNormOptions& options,
               BatchNormCoefficients& c) noexcept;

  /// dgamma and dbeta: arrays over channels of the data's type, or null.
  void backward(BatchNormBackward b, const BatchNormCoefficients& c, void* dgamma, void* dbeta) noexcept;

  /// Adds the values of x to `out`, whose arrays have one item per channel.
  void moments(const void* x, BatchMoments& out) noexcept;

 private:
  template <class Sums, class Finish, class Apply>
  void run(const Sums& sums, const Finish& finish, const Apply& apply) noexcept;
  void merge_moments(std::ptrdiff_t begin, std::ptrdiff_t end, std::int64_t count, double* mean, double* m2);
  template <class Apply>
  void apply_all(const Apply& apply) noexcept;
  void merge_sums(std::ptrdiff_t begin, std::ptrdiff_t end);
  bool worth_streaming() const;
  void repeat(std::vector<unsigned char>& coefficients) const;

  BatchNormShape shape_;
  DType dtype_;
  int threads_;
  std::ptrdiff_t blocks_, slice_;       // channels per unit of work, or 0: units are blocks
  std::vector<double> first_, second_;  // [block][channel]; merged into block 0
  std::vector<unsigned char> mean_, slope_;
};

/// Adds the values behind `other` to those behind `into`.
void merge(BatchMoments& into, const BatchMoments& other) noexcept;

}  // namespace fusedstep
