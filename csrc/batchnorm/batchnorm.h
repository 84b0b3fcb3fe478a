// The order of batch normalisation's work over threads and caches, without the arithmetic.
#pragma once

#include "batchnorm/statistics.h"

namespace fusedstep {

/// The constructor allocates all memory; the methods cannot fail. For 16-bit elements, all arrays over channels are
/// float32.
class BatchNormPass {
 public:
  BatchNormPass(const BatchNormShape& shape, DType dtype, int threads);

  void forward(BatchNormForward f, const BatchNormParameters& parameters, const BatchNormOptions& options,
               BatchNormCoefficients& c) noexcept;

  /// dgamma and dbeta: arrays over channels of the computing type, or null.
  void backward(BatchNormBackward b, const BatchNormCoefficients& c, void* dgamma, void* dbeta) noexcept;

  /// Adds the values of x to `out`, whose arrays have one item per channel.
  void moments(const void* x, BatchMoments& out) noexcept;

 private:
  template <class Sums, class Finish, class Apply>
  void run(const Sums& sums, const Finish& finish, const Apply& apply) noexcept;
  template <class Apply>
  void apply_all(const Apply& apply) noexcept;
  void block_moments(const void* x, std::ptrdiff_t block, std::ptrdiff_t begin, std::ptrdiff_t end);
  bool worth_streaming() const;
  void repeat(CoefficientBytes& coefficients) const;

  BatchNormShape shape_;
  DType dtype_, number_;  // the dtype of the elements; that of arrays over channels
  int threads_;
  std::ptrdiff_t slice_;  // channels per unit of work, or 0: units are blocks
  BatchBlocks blocks_;
  CoefficientBytes mean_, slope_;
};

}  // namespace fusedstep
