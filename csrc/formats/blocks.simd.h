// The block functions of every format.
#pragma once

#include "formats/bf16.h"
#include "formats/f16.h"
#include "formats/format.h"
#include "formats/native.h"

namespace fusedstep {
namespace {

template <class Format>
void decode(const Strided& stream, std::ptrdiff_t first, std::ptrdiff_t n, void* numbers) {
  auto* const out = static_cast<typename Format::Number*>(numbers);
  for_each_item<const typename Format::Item>(
      stream, first, n, [out](typename Format::Item x, std::ptrdiff_t i) { out[i] = Format::decode(x); });
}

template <class Format>
void encode(const void* numbers, const Strided& stream, std::ptrdiff_t first, std::ptrdiff_t n) {
  auto* const in = static_cast<const typename Format::Number*>(numbers);
  for_each_item<typename Format::Item>(stream, first, n,
                                       [in](typename Format::Item& x, std::ptrdiff_t i) { x = Format::encode(in[i]); });
}

template <class Format>
constexpr FormatKernels format_kernels = {decode<Format>, encode<Format>};

}  // namespace
}  // namespace fusedstep
