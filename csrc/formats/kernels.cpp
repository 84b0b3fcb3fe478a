// Blocks of 16-bit numbers. This file is compiled once per instruction set; FUSEDSTEP_LEVEL is the name of the set.
// Only the table at the end has external linkage, so that the linker cannot merge a function with that of another set.
#include "formats/halves.h"
#include "formats/numbers.simd.h"

namespace fusedstep {
namespace {

/// Calls body(first item, first number) for every run; runs without gaps between them are one.
template <class Body>
FUSEDSTEP_INLINE void for_stretches(const Stretches& s, const Body& body) {
  if (s.stride == s.n) return body(0, 0, s.count * s.n);
  for (std::ptrdiff_t k = 0; k < s.count; ++k) body(k * s.stride, k * s.n, s.n);
}

/// Converts N neighbours without a loop. In a loop over so few of them, start and end would take most of the time.
template <class Format, int N>
FUSEDSTEP_INLINE void decode_few(const std::uint16_t* from, float* to) {
  if constexpr (has_instructions<Format>) {
#if defined(__F16C__)
    if constexpr (N % f16_lanes == 0) {
      decode_vectors(from, N, to);
    } else {
      _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
    }
#else
    for (int k = 0; k < N; ++k) to[k] = Format::decode(from[k]);
#endif
  } else {
    constexpr int W = N < width<float> ? N : width<float>;
    for (int k = 0; k < N; k += W)
      store(to + k, __builtin_convertvector(load<Vector<std::uint16_t, W>>(from + k), Vector<std::uint32_t, W>) << 16);
  }
}

template <class Format, int N>
void decode_rows(const void* from, const Stretches& s, float* to) {
  constexpr std::ptrdiff_t ahead = 64;  // rows
  const bool begins_line = reinterpret_cast<std::uintptr_t>(from) % 64 < N * sizeof(std::uint16_t);
  const auto* const items = static_cast<const std::uint16_t*>(from);
  for (std::ptrdiff_t k = 0; k < s.count; ++k) {
    if (begins_line) __builtin_prefetch(items + (k + ahead) * s.stride, 0, 2);
    decode_few<Format, N>(items + k * s.stride, to + k * N);
  }
}

template <class Format>
void decode_stretches(const void* from, const Stretches& s, float* to) {
  if (s.n == 16 && s.stride != 16) return decode_rows<Format, 16>(from, s, to);
  if (s.n == 8 && s.stride != 8) return decode_rows<Format, 8>(from, s, to);
  const Stream items{{static_cast<char*>(const_cast<void*>(from))}};
  for_stretches(s, [&](std::ptrdiff_t item, std::ptrdiff_t number, std::ptrdiff_t n) {
    decode<Format>(items, item, n, to + number);
  });
}

template <class Format>
void stream_out(const float* from, std::uint16_t* to, std::ptrdiff_t n) {
  alignas(64) std::uint16_t room[512];
  const Stream encoded{{reinterpret_cast<char*>(room)}};
  for (std::ptrdiff_t done = 0, count; done < n; done += count) {
    count = n - done < 512 ? n - done : 512;
    encode<Format>(from + done, encoded, 0, count, {});
    std::uint16_t* const items = to + done;
    walk<true>(items, count, count + line_bytes,
               [&]<class V>(std::ptrdiff_t i, std::ptrdiff_t) { put<true>(items + i, load<V>(room + i)); });
  }
}

template <class Format>
void encode_stretches(const float* from, const Stretches& s, void* to, bool past_cache) {
  const Stream items{{static_cast<char*>(to)}};
  for_stretches(s, [&](std::ptrdiff_t item, std::ptrdiff_t number, std::ptrdiff_t n) {
    if (past_cache) return stream_out<Format>(from + number, static_cast<std::uint16_t*>(to) + item, n);
    encode<Format>(from + number, items, item, n, {});
  });
}

void end_of_streaming() { end_streaming(); }

template <class Format>
constexpr HalfKernels kernels_of = {decode_stretches<Format>, encode_stretches<Format>};

}  // namespace

extern constexpr HalfTable FUSEDSTEP_TABLE(half_kernels) = {kernels_of<bf16>, kernels_of<f16>, end_of_streaming};

}  // namespace fusedstep
