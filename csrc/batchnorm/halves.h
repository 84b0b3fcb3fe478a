// Batch normalisation of 16-bit numbers by the kernels of float32: the same functions, with arrays of elements in 16
// bits. What is per channel is float32.
#pragma once

#include "batchnorm/kernel.h"
#include "formats/halves.h"

namespace fusedstep {

class HalfBatchNorm {
 public:
  explicit HalfBatchNorm(DType dtype) : half_(half_kernels().of(dtype)), float_(batch_norm_kernels()) {}

  void moments(const BatchNormShape& s, const void* x, std::ptrdiff_t block, std::ptrdiff_t begin, std::ptrdiff_t end,
               double* mean, double* m2) const;
  void sums(const BatchNormBackward& b, std::ptrdiff_t block, std::ptrdiff_t begin, std::ptrdiff_t end, double* sum,
            double* dot) const;
  void apply(const BatchNormForward& f, const BatchNormRegion& region) const;
  void gradient(const BatchNormBackward& b, const BatchNormRegion& region) const;

 private:
  void decode(const void* array, std::ptrdiff_t first, std::ptrdiff_t n, float* to) const {
    half_.decode(item_at(array, first, 2), {1, n, n}, to);
  }
  void encode(const float* from, void* array, std::ptrdiff_t first, std::ptrdiff_t n) const {
    half_.encode(from, {1, n, n}, item_at(array, first, 2));
  }

  const HalfKernels& half_;
  const BatchNormKernels& float_;
};

}  // namespace fusedstep
