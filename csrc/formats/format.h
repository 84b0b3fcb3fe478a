// How numbers lie in memory. A format is two block functions: decode makes numbers of the computing type of a stream,
// encode writes them back. Rules do not know formats.
#pragma once

#include "formats/dtype.h"
#include "formats/strided.h"

namespace fusedstep {

/// Elements [first, first + n) of a stream, as numbers of the computing type.
using DecodeFn = void (*)(const Strided& stream, std::ptrdiff_t first, std::ptrdiff_t n, void* numbers);
using EncodeFn = void (*)(const void* numbers, const Strided& stream, std::ptrdiff_t first, std::ptrdiff_t n);

struct FormatKernels {
  DecodeFn decode;
  EncodeFn encode;
};

}  // namespace fusedstep
