// 16-bit numbers for layers. A block of numbers is decoded to float32 in the first-level cache. The float32 kernel
// processes the block. The results are then encoded, which rounds them to nearest, ties to even.
#pragma once

#include <cstddef>

#include "formats/dtype.h"
#include "machine/level.h"

namespace fusedstep {

/// Convert n items without gaps to and from float32 numbers. If `past_cache` is true, stores bypass the caches.
struct HalfKernels {
  void (*decode)(const void* from, std::ptrdiff_t n, float* to);
  void (*encode)(const float* from, std::ptrdiff_t n, void* to, bool past_cache);
};
struct HalfTable {
  HalfKernels bf16, f16;
  /// Makes stores that bypass the caches visible to the next thread that synchronises with this one.
  void (*end_streaming)();
  const HalfKernels& of(DType d) const { return d == DType::bf16 ? bf16 : f16; }
};
FUSEDSTEP_TABLES(HalfTable, half_kernels)

/// The address of item i of an array with items of `item` bytes.
inline const void* item_at(const void* data, std::ptrdiff_t i, std::ptrdiff_t item) {
  return static_cast<const char*>(data) + i * item;
}
inline void* item_at(void* data, std::ptrdiff_t i, std::ptrdiff_t item) { return static_cast<char*>(data) + i * item; }

}  // namespace fusedstep
