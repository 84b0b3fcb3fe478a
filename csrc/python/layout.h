// How the elements of an array or a tensor lie in memory, whoever owns it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "step/strided.h"

namespace fusedstep::bind {

/// Borrowed: the shape and strides are the owner's. `unit` is what a stride counts: 1 or the bytes of an item.
struct View {
  char* data = nullptr;
  std::ptrdiff_t item_size = 1;
  int ndim = 0;
  const std::ptrdiff_t* shape = nullptr;
  const std::ptrdiff_t* strides = nullptr;
  std::ptrdiff_t unit = 1;

  std::ptrdiff_t stride(int d) const { return strides[d] * unit; }
  std::ptrdiff_t size() const {
    std::ptrdiff_t n = 1;
    for (int d = 0; d < ndim; ++d) n *= shape[d];
    return n;
  }
};

/// Axes longer than 1 from the widest stride to the narrowest.
std::vector<int> memory_order(const View& view);

/// True if the elements fill a stretch of memory, each element once, in some order of the axes.
bool is_dense(const View& view, const std::vector<int>& order);

/// True if no two elements can share memory: strides nest (which is stricter, and cheap).
bool is_disjoint(const View& view);

/// The bytes from the lowest to behind the highest that the elements touch; an empty view has none.
struct Extent {
  const char *low, *high;
};
Extent extent(const View& view);

/// How a view, of the shape of a parameter whose axes in memory are `order`, is walked in that order.
void describe_layout(const View& view, const std::vector<int>& order, Gradient& out);

}  // namespace fusedstep::bind
