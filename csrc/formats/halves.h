// Numbers of 16 bits for layers: a block of them is decoded to float32 in the first-level cache, the kernel of float32
// runs there, and what it has written is encoded, rounded to nearest even.
#pragma once

#include <cstddef>

#include "formats/dtype.h"
#include "machine/level.h"

namespace fusedstep {

/// `count` stretches of n items; a stretch begins `stride` items after the one before.
struct Stretches {
  std::ptrdiff_t count, n, stride;
};

/// Between memory and float32 numbers without gaps.
struct HalfKernels {
  void (*decode)(const void* from, const Stretches&, float* to);
  void (*encode)(const float* from, const Stretches&, void* to);
};
struct HalfTable {
  HalfKernels bf16, f16;
  const HalfKernels& of(DType d) const { return d == DType::bf16 ? bf16 : f16; }
};
FUSEDSTEP_TABLES(HalfTable, half_kernels)

/// Item i of an array of `item` bytes each.
inline const void* item_at(const void* data, std::ptrdiff_t i, std::ptrdiff_t item) {
  return static_cast<const char*>(data) + i * item;
}
inline void* item_at(void* data, std::ptrdiff_t i, std::ptrdiff_t item) { return static_cast<char*>(data) + i * item; }

}  // namespace fusedstep
