// The block functions of every format.
#pragma once

#include "formats/bf16.h"
#include "formats/f16.h"
#include "formats/format.h"
#include "formats/master.h"
#include "formats/native.h"
#include "formats/noise.h"
#include "formats/u8.h"
#include "machine/vectors.simd.h"

namespace fusedstep {
namespace {

constexpr std::ptrdiff_t noise_room = 512;  // random bits are computed for so many elements at a time

#if defined(__F16C__)
/// The conversion by the CPU's instruction; it has the same bits as `f16`.
#if defined(__AVX512F__)
constexpr std::ptrdiff_t f16_lanes = 16;
inline void f16_to_float(const std::uint16_t* from, float* to) {
  _mm512_storeu_ps(to, _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
}
inline void float_to_f16(const float* from, std::uint16_t* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                      _mm512_maskz_cvtps_ph(0xffff, _mm512_loadu_ps(from), _MM_FROUND_TO_NEAREST_INT));
}
#else
constexpr std::ptrdiff_t f16_lanes = 8;
inline void f16_to_float(const std::uint16_t* from, float* to) {
  _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
inline void float_to_f16(const float* from, std::uint16_t* to) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(_mm256_loadu_ps(from), _MM_FROUND_TO_NEAREST_INT));
}
#endif

/// Converts as many numbers as fill whole vectors and returns how many these are. The arrays have no gaps.
inline std::ptrdiff_t decode_vectors(const std::uint16_t* in, std::ptrdiff_t n, float* out) {
  std::ptrdiff_t i = 0;
  for (; i + f16_lanes <= n; i += f16_lanes) f16_to_float(in + i, out + i);
  return i;
}
inline std::ptrdiff_t encode_vectors(const float* in, std::ptrdiff_t n, std::uint16_t* out) {
  std::ptrdiff_t i = 0;
  for (; i + f16_lanes <= n; i += f16_lanes) float_to_f16(in + i, out + i);
  return i;
}
#else
inline std::ptrdiff_t decode_vectors(const std::uint16_t*, std::ptrdiff_t, float*) { return 0; }
inline std::ptrdiff_t encode_vectors(const float*, std::ptrdiff_t, std::uint16_t*) { return 0; }
#endif

template <class Format>
constexpr bool has_instructions = false;
template <>
constexpr bool has_instructions<f16> = true;

template <class Format>
void decode(const Stream& s, std::ptrdiff_t first, std::ptrdiff_t n, void* numbers) {
  using Item = typename Format::Item;
  auto* const out = static_cast<typename Format::Number*>(numbers);
  std::ptrdiff_t done = 0;
  if constexpr (has_instructions<Format>)
    if (s.at.contiguous) done = decode_vectors(reinterpret_cast<const Item*>(s.at.data) + first, n, out);
  for_each_item<const Item>(s.at, first + done, n - done,
                            [&](Item x, std::ptrdiff_t i) { out[done + i] = Format::decode(x); });
}

/// Calls body(done, count, noise) for runs of [first, first + n). If `first` is the border of a block, every run begins
/// with a block.
template <class Body>
inline void with_noise(const Rounding& rounding, std::ptrdiff_t first, std::ptrdiff_t n, Body&& body) {
  alignas(64) std::uint32_t noise[noise_room];
  for (std::ptrdiff_t done = 0; done < n; done += noise_room) {
    const std::ptrdiff_t count = n - done < noise_room ? n - done : noise_room;
    make_noise(rounding.key, first + done, count, noise);
    body(done, count, noise);
  }
}

template <class Format>
void encode(const void* numbers, const Stream& s, std::ptrdiff_t first, std::ptrdiff_t n, const Rounding& rounding) {
  using Item = typename Format::Item;
  auto* const in = static_cast<const typename Format::Number*>(numbers);
  if constexpr (sizeof(Item) == 2) {
    if (rounding.stochastic)
      return with_noise(rounding, first, n, [&](std::ptrdiff_t done, std::ptrdiff_t count, const std::uint32_t* noise) {
        for_each_item<Item>(s.at, first + done, count,
                            [&](Item& x, std::ptrdiff_t i) { x = Format::encode(in[done + i], noise[i]); });
      });
  }
  std::ptrdiff_t done = 0;
  if constexpr (has_instructions<Format>)
    if (s.at.contiguous) done = encode_vectors(in, n, reinterpret_cast<Item*>(s.at.data) + first);
  for_each_item<Item>(s.at, first + done, n - done,
                      [&](Item& x, std::ptrdiff_t i) { x = Format::encode(in[done + i]); });
}

/// The weighted sum of a block's items in the parameter.
inline std::uint32_t sum_of(const Stream& s, std::ptrdiff_t first, std::ptrdiff_t n) {
  std::uint32_t sum = 0;
  for_each_item<const std::int16_t>(s.at, first, n,
                                    [&](std::int16_t x, std::ptrdiff_t i) { sum += std::uint32_t(x * weights.of[i]); });
  return sum;
}

/// Calls body(block, done, count) for the blocks of [first, first + n).
template <class Body>
inline void for_scaled(std::ptrdiff_t first, std::ptrdiff_t n, Body&& body) {
  for (std::ptrdiff_t done = 0; done < n; done += scaled_together)
    body((first + done) / scaled_together, done, n - done < scaled_together ? n - done : scaled_together);
}

/// Uses the low bits of a block only if its sum shows that the parameter is as the last step wrote it.
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

/// Uses a master weight only if it rounds to the parameter.
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
  encode<f16>(numbers, s, first, n, {});  // to nearest, because `decode_master` compares with that
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
