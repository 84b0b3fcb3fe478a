// How a mask of one shape lies over an array of another.
#pragma once

#include <cstdint>
#include <vector>

namespace fusedstep {

/// An array in C order, seen as equal rows: the mask's indices of row r begin at base(r), and rise by one every `run`
/// elements of it.
struct Broadcast {
  std::int64_t rows = 1, row = 1, run = 1;
  std::uint64_t base(std::int64_t r) const {
    std::uint64_t index = 0;
    for (auto d = outer.rbegin(); d != outer.rend(); r /= d->size, ++d) index += std::uint64_t(r % d->size * d->stride);
    return index;
  }

  struct Dim {
    std::int64_t size, stride;  // stride in the mask: 0 where it is broadcast
  };
  std::vector<Dim> outer;  // from the slowest
};

/// `mask` must broadcast against `shape`: as many dims, each of the same size or 1.
inline Broadcast lay_over(const std::vector<std::int64_t>& shape, const std::vector<std::int64_t>& mask) {
  Broadcast b;
  std::int64_t stride = 1;
  for (std::size_t d = shape.size(); d-- > 0; stride *= mask[d]) {  // from the fastest
    const bool shared = mask[d] == 1;
    if (shape[d] == 1) continue;
    Broadcast::Dim* last = b.outer.empty() ? nullptr : &b.outer.back();
    if (last && (last->stride == 0) == shared)
      last->size *= shape[d];
    else
      b.outer.push_back({shape[d], shared ? 0 : stride});
  }
  if (!b.outer.empty() && b.outer.front().stride == 0) {
    b.run = b.row = b.outer.front().size;
    b.outer.erase(b.outer.begin());
  }
  if (!b.outer.empty()) {
    b.row *= b.outer.front().size;
    b.outer.erase(b.outer.begin());
  }
  for (const Broadcast::Dim& d : b.outer) b.rows *= d.size;
  b.outer = {b.outer.rbegin(), b.outer.rend()};
  return b;
}

}  // namespace fusedstep
