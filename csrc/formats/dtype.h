// The types of items in memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fusedstep {

/// Numbers first; then what only narrow states and master weights are kept in.
enum class DType : std::uint8_t { f32, f64, bf16, f16, u8, i16, i32 };
constexpr int dtype_count = 2;  // that kernels compute in: float32 and float64; they come first
constexpr bool is_number(DType d) { return d <= DType::f16; }
constexpr bool is_half(DType d) { return d == DType::bf16 || d == DType::f16; }
constexpr DType computed_in(DType d) { return is_half(d) ? DType::f32 : d; }
constexpr std::ptrdiff_t item_size(DType d) {
  constexpr std::ptrdiff_t sizes[] = {4, 8, 2, 2, 1, 2, 4};
  return sizes[int(d)];
}

}  // namespace fusedstep
