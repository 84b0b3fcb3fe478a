// How numbers are stored. A format is two block functions: decode makes numbers of the computing type from a stream,
// encode writes them back. Rules do not know formats.
#pragma once

#include "formats/dtype.h"
#include "formats/strided.h"

namespace fusedstep {

/// The first four are dtypes. `bf16_low` and `f16_master` store in a second array what 16 bits cannot hold. `u8` and
/// `u8_positive` have one scale for each block of 256 elements; `u8_positive` is for states that are never negative.
enum class Format : std::uint8_t { f32, f64, bf16, f16, bf16_low, f16_master, u8, u8_positive };
constexpr int format_count = 8;
constexpr Format format_of(DType d) { return Format(d); }  // the format of plain numbers
constexpr bool is_native(Format f) { return f == Format::f32 || f == Format::f64; }

/// The elements of a block, which share a scale (u8) or a sum that shows whether other code has written them
/// (bf16_low). Blocks are counted from the first element of the tensor, and no thread's share cuts one.
constexpr std::ptrdiff_t scaled_together = 256;
constexpr bool has_blocks(Format f) { return f == Format::bf16_low || f == Format::u8 || f == Format::u8_positive; }
constexpr std::ptrdiff_t block_count(std::ptrdiff_t size) { return (size + scaled_together - 1) / scaled_together; }

/// One array of a tensor, and the additional arrays of its format. These have no gaps and the same order.
struct Stream {
  Strided at;
  Format format = Format::f32;
  void* beside = nullptr;  // bf16_low: the low 16 bits; f16_master: the float32; u8: the scales
  void* sums = nullptr;    // bf16_low: one for each block
};

/// Rounding to nearest, or stochastic: up or down with probabilities that keep the mean. The random bits are a function
/// of the key and the element's index in the tensor.
struct Rounding {
  bool stochastic = false;
  std::uint64_t key = 0;
};

/// Convert elements [first, first + n) of a stream to and from numbers of the computing type. If the format has blocks,
/// `first` must be the border of one.
using DecodeFn = void (*)(const Stream& stream, std::ptrdiff_t first, std::ptrdiff_t n, void* numbers);
using EncodeFn = void (*)(const void* numbers, const Stream& stream, std::ptrdiff_t first, std::ptrdiff_t n,
                          const Rounding& rounding);

struct FormatKernels {
  DecodeFn decode;
  EncodeFn encode;
};

}  // namespace fusedstep
