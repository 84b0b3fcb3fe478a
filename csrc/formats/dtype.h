// The types of the items of arrays.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fusedstep {

/// The order is: float32 and float64, the other floating-point types, the integer types. Integers store narrow states
/// and the low bits of parameters.
enum class DType : std::uint8_t { f32, f64, bf16, f16, u8, i16, i32 };
constexpr int dtype_count = 2;  // kernels compute in the first two types, float32 and float64
constexpr bool is_number(DType d) { return d <= DType::f16; }
constexpr bool is_half(DType d) { return d == DType::bf16 || d == DType::f16; }
constexpr DType computed_in(DType d) { return is_half(d) ? DType::f32 : d; }
constexpr std::ptrdiff_t item_sizes[] = {4, 8, 2, 2, 1, 2, 4};  // outside the function, so that it is in static memory
constexpr std::ptrdiff_t item_size(DType d) { return item_sizes[int(d)]; }

}  // namespace fusedstep
