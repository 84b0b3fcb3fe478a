// The types of numbers in memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fusedstep {

enum class DType : std::uint8_t { f32, f64, bf16, f16 };
constexpr int format_count = 4;
constexpr int dtype_count = 2;  // that kernels compute in: float32 and float64; they come first
constexpr bool is_half(DType d) { return d == DType::bf16 || d == DType::f16; }
constexpr DType computed_in(DType d) { return is_half(d) ? DType::f32 : d; }
constexpr std::ptrdiff_t item_size(DType d) { return is_half(d) ? 2 : d == DType::f32 ? 4 : 8; }

}  // namespace fusedstep
