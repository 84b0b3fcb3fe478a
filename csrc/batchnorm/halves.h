// Batch normalisation of 16-bit numbers by the float32 kernels: the same functions, for arrays of 16-bit elements. All
// arrays over channels are float32.
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
  /// The same, and asks for as many elements behind them.
  void decode_and_prefetch(const void* array, std::ptrdiff_t first, std::ptrdiff_t n, float* to) const {
    for (std::ptrdiff_t i = 0; i < n; i += 32) __builtin_prefetch(item_at(array, first + n + i, 2));
    decode(array, first, n, to);
  }
  void encode(const float* from, void* array, std::ptrdiff_t first, std::ptrdiff_t n, bool past_cache) const {
    half_.encode(from, {1, n, n}, item_at(array, first, 2), past_cache);
  }

  const HalfKernels& half_;
  const BatchNormKernels& float_;
};

}  // namespace fusedstep
