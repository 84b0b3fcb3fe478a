// The functions that decode and encode blocks of elements, for every format.
#pragma once

#include "formats/master.h"
#include "formats/native.h"
#include "formats/numbers.simd.h"
#include "formats/u8.h"

namespace fusedstep {
namespace {

/// The weighted sum of n items of a parameter, from item `first` on.
inline std::uint32_t sum_of(const Stream& s, std::ptrdiff_t first, std::ptrdiff_t n) {
  std::uint32_t sum = 0;
  for_each_item<const std::int16_t>(s.at, first, n,
                                    [&](std::int16_t x, std::ptrdiff_t i) { sum += std::uint32_t(x * weights.of[i]); });
  return sum;
}

/// Calls body(block, done, count) for each block of elements [first, first + n): `block` is its index, first + done is
/// its first element, and `count` is its number of elements.
template <class Body>
inline void for_scaled(std::ptrdiff_t first, std::ptrdiff_t n, Body&& body) {
  for (std::ptrdiff_t done = 0; done < n; done += scaled_together)
    body((first + done) / scaled_together, done, n - done < scaled_together ? n - done : scaled_together);
}

/// Decodes bfloat16 items and the low 16 bits of their float32 values. The low bits of a block are used if the block's
/// sum is unchanged, which shows that the items are still as the last step wrote them. Otherwise the low bits are taken
/// as 0.
void decode_low(const Stream& s, std::ptrdiff_t first, std::ptrdiff_t n, void* numbers) {
  auto* const out = static_cast<float*>(numbers);
  const auto* const low = static_cast<const std::int16_t*>(s.beside) + first;
  for_scaled(first, n, [&](std::ptrdiff_t block, std::ptrdiff_t done, std::ptrdiff_t count) {
    const bool known = static_cast<const std::uint32_t*>(s.sums)[block] == sum_of(s, first + done, count);
    const std::int16_t mask = known ? -1 : 0;
    for_each_item<const std::uint16_t>(s.at, first + done, count, [&](std::uint16_t x, std::ptrdiff_t i) {
      out[done + i] = float_of(bf16_low::join(x, low[done + i] & mask));
    });
  });
}

void encode_low(const void* numbers, const Stream& s, std::ptrdiff_t first, std::ptrdiff_t n, const Rounding&) {
  const auto* const in = static_cast<const float*>(numbers);
  auto* const low = static_cast<std::int16_t*>(s.beside) + first;
  for_scaled(first, n, [&](std::ptrdiff_t block, std::ptrdiff_t done, std::ptrdiff_t count) {
    for_each_item<std::uint16_t>(s.at, first + done, count, [&](std::uint16_t& x, std::ptrdiff_t i) {
      const std::uint32_t u = bf16::with_one_nan(in[done + i]);
      x = std::uint16_t(bf16_low::high(u)), low[done + i] = bf16_low::low(u);
    });
    static_cast<std::uint32_t*>(s.sums)[block] = sum_of(s, first + done, count);
  });
}

/// A master weight is the float32 value of a float16 item. It is used if it rounds to the item. Otherwise other code
/// has written the item, and the item itself is used.
void decode_master(const Stream& s, std::ptrdiff_t first, std::ptrdiff_t n, void* numbers) {
  auto* const out = static_cast<float*>(numbers);
  const auto* const master = static_cast<const float*>(s.beside) + first;
  decode<f16>(s, first, n, numbers);
  for (std::ptrdiff_t done = 0; done < n; done += noise_room) {
    const std::ptrdiff_t count = n - done < noise_room ? n - done : noise_room;
    alignas(64) std::uint16_t rounded[noise_room];
    encode<f16>(master + done, {{reinterpret_cast<char*>(rounded)}, Format::f16}, 0, count, {});
    for_each_item<const std::uint16_t>(s.at, first + done, count, [&](std::uint16_t x, std::ptrdiff_t i) {
      out[done + i] = rounded[i] == x ? master[done + i] : out[done + i];
    });
  }
}

void encode_master(const void* numbers, const Stream& s, std::ptrdiff_t first, std::ptrdiff_t n, const Rounding&) {
  auto* const master = static_cast<float*>(s.beside) + first;
  for (std::ptrdiff_t i = 0; i < n; ++i) master[i] = static_cast<const float*>(numbers)[i];
  encode<f16>(numbers, s, first, n, {});  // rounds to nearest, because decode_master rounds the same way and compares
}

template <bool positive>
void decode_u8(const Stream& s, std::ptrdiff_t first, std::ptrdiff_t n, void* numbers) {
  auto* const out = static_cast<float*>(numbers);
  const auto* const codes = reinterpret_cast<const std::uint8_t*>(s.at.data) + first;
  for_scaled(first, n, [&](std::ptrdiff_t block, std::ptrdiff_t done, std::ptrdiff_t count) {
    const float scale = static_cast<const float*>(s.beside)[block];
    for (std::ptrdiff_t i = done; i < done + count; ++i) {
      const auto code = positive ? std::uint32_t(codes[i]) : std::uint32_t(std::int8_t(codes[i]));
      out[i] = u8_codes<positive>::decode(code, scale);
    }
  });
}

template <bool positive, bool stochastic>
inline void encode_block(const float* in, std::uint8_t* codes, std::ptrdiff_t n, float* scale,
                         const std::uint32_t* noise) {
  using Codes = u8_codes<positive>;
  std::uint32_t largest = 0;
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    const std::uint32_t u = bits_of(in[i]) & 0x7fffffff;
    largest = u > largest ? u : largest;
  }
  const std::uint32_t bits = Codes::scale(largest);
  *scale = float_of(bits);
  if (largest >= Codes::infinite) {  // all numbers of this block will be decoded as nan
    for (std::ptrdiff_t i = 0; i < n; ++i) codes[i] = 1;
    return;
  }
  const float per_scale = 1.0f / *scale;
  for (std::ptrdiff_t i = 0; i < n; ++i)
    codes[i] = std::uint8_t(Codes::template encode<stochastic>(in[i], per_scale, stochastic ? noise[i] : 0));
}

template <bool positive>
void encode_u8(const void* numbers, const Stream& s, std::ptrdiff_t first, std::ptrdiff_t n, const Rounding& rounding) {
  const auto* const in = static_cast<const float*>(numbers);
  auto* const codes = reinterpret_cast<std::uint8_t*>(s.at.data) + first;
  auto* const scales = static_cast<float*>(s.beside);
  if (rounding.stochastic)
    return with_noise(rounding, first, n, [&](std::ptrdiff_t start, std::ptrdiff_t some, const std::uint32_t* noise) {
      for_scaled(first + start, some, [&](std::ptrdiff_t block, std::ptrdiff_t done, std::ptrdiff_t count) {
        encode_block<positive, true>(in + start + done, codes + start + done, count, scales + block, noise + done);
      });
    });
  for_scaled(first, n, [&](std::ptrdiff_t block, std::ptrdiff_t done, std::ptrdiff_t count) {
    encode_block<positive, false>(in + done, codes + done, count, scales + block, nullptr);
  });
}

template <class Format>
constexpr FormatKernels format_kernels = {decode<Format>, encode<Format>};

constexpr FormatKernels low_kernels = {decode_low, encode_low}, master_kernels = {decode_master, encode_master};
template <bool positive>
constexpr FormatKernels u8_kernels = {decode_u8<positive>, encode_u8<positive>};

}  // namespace
}  // namespace fusedstep
