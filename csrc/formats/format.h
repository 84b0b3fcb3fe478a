// How numbers lie in memory. A format is two block functions: decode makes numbers of the computing type of a stream,
// encode writes them back. Rules do not know formats.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/strided.h"

namespace fusedstep {

enum class DType : std::uint8_t { f32, f64, bf16, f16 };
constexpr int format_count = 4;
constexpr int dtype_count = 2;  // that kernels compute in: float32 and float64; they come first

constexpr bool is_half(DType d) { return d == DType::bf16 || d == DType::f16; }
constexpr DType computed_in(DType d) { return is_half(d) ? DType::f32 : d; }
constexpr std::ptrdiff_t item_size(DType d) { return is_half(d) ? 2 : d == DType::f32 ? 4 : 8; }

/// Elements [first, first + n) of a stream, as numbers of the computing type.
using DecodeFn = void (*)(const Strided& stream, std::ptrdiff_t first, std::ptrdiff_t n, void* numbers);
using EncodeFn = void (*)(const void* numbers, const Strided& stream, std::ptrdiff_t first, std::ptrdiff_t n);

struct FormatKernels {
  DecodeFn decode;
  EncodeFn encode;
};

}  // namespace fusedstep
