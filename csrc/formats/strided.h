// Views of arrays with any strides. The elements of a view are in the order of the parameter's memory.
#pragma once

#include <cstddef>

namespace fusedstep {

/// A view of an array. The index of an element is split into one index for each of `dims`, the outermost first.
/// Neighbouring dims are merged where possible. Strides are in bytes. The owner of the view also owns the dims.
struct Strided {
  struct Dim {
    std::ptrdiff_t size, stride;
  };
  char* data = nullptr;
  bool contiguous = true;  // if true, dims are not used
  int dim_count = 0;
  const Dim* dims = nullptr;
};

namespace {

/// Calls visit(address, stride, count, done) for elements [first, first + n) of a view that is not contiguous. Each
/// call has `count` elements along the innermost dim, after `done` elements of earlier calls.
template <class Visit>
inline void for_each_stretch(const Strided& s, std::ptrdiff_t first, std::ptrdiff_t n, Visit&& visit) {
  const int inner = s.dim_count - 1;
  for (std::ptrdiff_t done = 0; done < n;) {
    std::ptrdiff_t rest = first + done;
    char* at = s.data;
    std::ptrdiff_t room = 0;
    for (int d = inner; d >= 0; --d) {
      const std::ptrdiff_t index = rest % s.dims[d].size;
      rest /= s.dims[d].size;
      at += index * s.dims[d].stride;
      if (d == inner) room = s.dims[d].size - index;
    }
    const std::ptrdiff_t count = room < n - done ? room : n - done;
    visit(at, s.dims[inner].stride, count, done);
    done += count;
  }
}

/// Calls body(item, i) for element first + i, for i = 0, ..., n - 1.
template <class Item, class Body>
inline void for_each_item(const Strided& s, std::ptrdiff_t first, std::ptrdiff_t n, Body&& body) {
  if (s.contiguous) {
    Item* const items = reinterpret_cast<Item*>(s.data) + first;
    for (std::ptrdiff_t i = 0; i < n; ++i) body(items[i], i);
    return;
  }
  for_each_stretch(s, first, n, [&](char* at, std::ptrdiff_t stride, std::ptrdiff_t count, std::ptrdiff_t done) {
    for (std::ptrdiff_t i = 0; i < count; ++i) body(*reinterpret_cast<Item*>(at + i * stride), done + i);
  });
}

}  // namespace
}  // namespace fusedstep
