// Where a gradient lies: any strides, seen in the memory order of its parameter.
#pragma once

#include <cstddef>
#include <vector>

namespace fusedstep {

/// A strided view whose k-th element, counted in the parameter's memory order, is found by unrolling `dims`
/// (outermost first). Neighbouring dims that can be merged have been; strides are in bytes.
struct Gradient {
  struct Dim {
    std::ptrdiff_t size, stride;
  };
  char* data = nullptr;
  bool contiguous = true;  // then dims is not needed
  std::vector<Dim> dims;
};

}  // namespace fusedstep
