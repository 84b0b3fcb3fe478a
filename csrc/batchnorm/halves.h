// The passes of batch normalisation over 16-bit elements. They use the float32 kernels. All arrays with one number per
// channel are float32.
#pragma once

#include "batchnorm/kernel.h"
#include "formats/halves.h"

namespace fusedstep {

class HalfBatchNorm {
 public:
  explicit HalfBatchNorm(DType dtype) : half_(half_kernels().of(dtype)), float_(batch_norm_kernels()) {}

  void apply(const BatchNormForward& f, const BatchNormRegion& region) const;
  void gradient(const BatchNormBackward& b, const BatchNormRegion& region) const;

 private:
  void decode(const void* array, std::ptrdiff_t first, std::ptrdiff_t n, float* to) const {
    half_.decode(item_at(array, first, 2), n, to);
  }
  void encode(const float* from, void* array, std::ptrdiff_t first, std::ptrdiff_t n, bool past_cache) const {
    half_.encode(from, n, item_at(array, first, 2), past_cache);
  }

  const HalfKernels& half_;
  const BatchNormKernels& float_;
};

}  // namespace fusedstep
