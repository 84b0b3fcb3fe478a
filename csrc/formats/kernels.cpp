// Blocks of 16-bit numbers, compiled once per instruction set; FUSEDSTEP_LEVEL names it. Only the table at the end
// leaves this file: everything else has internal linkage, so that the linker cannot merge a function with another
// level's.
#include "formats/halves.h"
#include "formats/numbers.simd.h"

namespace fusedstep {
namespace {

/// body(first item, first number) for every stretch; those without gaps are one.
template <class Body>
FUSEDSTEP_INLINE void for_stretches(const Stretches& s, const Body& body) {
  if (s.stride == s.n) return body(0, 0, s.count * s.n);
  for (std::ptrdiff_t k = 0; k < s.count; ++k) body(k * s.stride, k * s.n, s.n);
}

template <class Format>
void decode_stretches(const void* from, const Stretches& s, float* to) {
  const Stream items{{static_cast<char*>(const_cast<void*>(from))}};
  for_stretches(s, [&](std::ptrdiff_t item, std::ptrdiff_t number, std::ptrdiff_t n) {
    decode<Format>(items, item, n, to + number);
  });
}

template <class Format>
void encode_stretches(const float* from, const Stretches& s, void* to) {
  const Stream items{{static_cast<char*>(to)}};
  for_stretches(s, [&](std::ptrdiff_t item, std::ptrdiff_t number, std::ptrdiff_t n) {
    encode<Format>(from + number, items, item, n, {});
  });
}

template <class Format>
constexpr HalfKernels kernels_of = {decode_stretches<Format>, encode_stretches<Format>};

}  // namespace

extern constexpr HalfTable FUSEDSTEP_TABLE(half_kernels) = {kernels_of<bf16>, kernels_of<f16>};

}  // namespace fusedstep
