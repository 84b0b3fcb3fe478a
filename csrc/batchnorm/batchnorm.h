// Divides the work of batch normalisation among threads, in an order that uses the caches. The arithmetic is in
// statistics.h and in the kernels.
#pragma once

#include "batchnorm/statistics.h"

namespace fusedstep {

/// The constructor allocates all memory, and the methods cannot fail. An array over channels has one number per
/// channel. Its type is float32 if the elements have 16 bits, and otherwise the type of the elements.
class BatchNormPass {
 public:
  BatchNormPass(const BatchNormShape& shape, DType dtype, int threads);

  void forward(BatchNormForward f, const BatchNormParameters& parameters, const BatchNormOptions& options,
               BatchNormCoefficients& c) noexcept;

  /// dgamma and dbeta are arrays over channels, or null.
  void backward(BatchNormBackward b, const BatchNormCoefficients& c, void* dgamma, void* dbeta) noexcept;

  /// Merges the moments of the values of x into `out`, whose arrays have one item per channel.
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
  DType dtype_, number_;  // dtype_: of the elements; number_: of arrays over channels
  int threads_;
  /// The number of channels in a slice. A thread does all passes over a slice before it begins with the next slice. If
  /// it is 0, there are no slices: each pass is done over all channels before the next pass.
  std::ptrdiff_t slice_;
  BatchBlocks blocks_;
  CoefficientBytes mean_, slope_;
};

}  // namespace fusedstep
