// How numbers are stored. A format has two functions: decode converts a block of stored items to numbers of the type in
// which kernels compute, and encode converts the numbers back. The code of an update rule does not depend on formats.
#pragma once

#include "formats/dtype.h"
#include "formats/strided.h"

namespace fusedstep {

/// The first four formats are dtypes. `bf16_low` and `f16_master` store 16-bit items, and have a second array, so that
/// the float32 values are not lost. `u8` and `u8_positive` have one scale for each block of 256 elements. `u8_positive`
/// is for states that are never negative.
enum class Format : std::uint8_t { f32, f64, bf16, f16, bf16_low, f16_master, u8, u8_positive };
constexpr int format_count = 8;
constexpr Format format_of(DType d) { return Format(d); }  // the format without a second array
constexpr bool is_native(Format f) { return f == Format::f32 || f == Format::f64; }

/// The number of elements in a block. In u8 and u8_positive, the elements of a block share a scale. In bf16_low, they
/// share a sum, which shows whether other code has written the elements. Blocks are counted from the first element of
/// the tensor. Each block is processed by one thread.
constexpr std::ptrdiff_t scaled_together = 256;
constexpr bool has_blocks(Format f) { return f == Format::bf16_low || f == Format::u8 || f == Format::u8_positive; }
constexpr std::ptrdiff_t block_count(std::ptrdiff_t size) { return (size + scaled_together - 1) / scaled_together; }

/// One array of a tensor (the parameter, its gradient or a state) and the additional arrays of its format. The
/// additional arrays have no gaps. Their elements are in the order of the parameter's memory.
struct Stream {
  Strided at;
  Format format = Format::f32;
  void* beside = nullptr;  // bf16_low: the low 16 bits; f16_master: the float32 values; u8: the scales
  void* sums = nullptr;    // bf16_low: one sum for each block
};

/// Rounding to nearest, or stochastic rounding. Stochastic rounding goes up or down at random, such that the expected
/// result is the exact number. The random bits are a function of the key and of the element's index in the tensor.
struct Rounding {
  bool stochastic = false;
  std::uint64_t key = 0;
};

/// Convert elements [first, first + n) of a stream to and from numbers of the type in which kernels compute. If the
/// format has blocks, `first` must be the first element of a block.
using DecodeFn = void (*)(const Stream& stream, std::ptrdiff_t first, std::ptrdiff_t n, void* numbers);
using EncodeFn = void (*)(const void* numbers, const Stream& stream, std::ptrdiff_t first, std::ptrdiff_t n,
                          const Rounding& rounding);

struct FormatKernels {
  DecodeFn decode;
  EncodeFn encode;
};

}  // namespace fusedstep
