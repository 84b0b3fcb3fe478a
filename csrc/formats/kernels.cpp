// Conversions of blocks of 16-bit numbers. This file is compiled once per instruction set, and FUSEDSTEP_LEVEL is the
// name of the set. Only the table at the end has external linkage. So the linker cannot replace a function by the same
// function of another instruction set.
#include "formats/halves.h"
#include "formats/load.simd.h"
#include "formats/numbers.simd.h"

namespace fusedstep {
namespace {

template <class Format>
void decode_items(const void* from, std::ptrdiff_t n, float* to) {
  const auto* const items = static_cast<const Half<Format>*>(from);
  for_vectors<float>(n, [=]<class V>(std::ptrdiff_t i) { store(to + i, load<V>(items + i)); });
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
void encode_items(const float* from, std::ptrdiff_t n, void* to, bool past_cache) {
  if (past_cache) return stream_out<Format>(from, static_cast<std::uint16_t*>(to), n);
  encode<Format>(from, {{static_cast<char*>(to)}}, 0, n, {});
}

void end_of_streaming() { end_streaming(); }

template <class Format>
constexpr HalfKernels kernels_of = {decode_items<Format>, encode_items<Format>};

}  // namespace

extern constexpr HalfTable FUSEDSTEP_TABLE(half_kernels) = {kernels_of<bf16>, kernels_of<f16>, end_of_streaming};

}  // namespace fusedstep
