#include "python/layout.h"

#include <algorithm>
#include <cstdlib>

namespace fusedstep::bind {

std::vector<int> memory_order(const View& v) {
  std::vector<int> order;
  for (int d = 0; d < v.ndim; ++d)
    if (v.shape[d] != 1) order.push_back(d);
  std::stable_sort(order.begin(), order.end(),
                   [&](int x, int y) { return std::abs(v.stride(x)) > std::abs(v.stride(y)); });
  return order;
}

bool is_dense(const View& v, const std::vector<int>& order) {
  std::ptrdiff_t expected = v.item_size;
  for (auto d = order.rbegin(); d != order.rend(); ++d) {
    if (v.stride(*d) != expected) return v.size() == 0;
    expected *= v.shape[*d];
  }
  return true;
}

bool is_disjoint(const View& v) {
  std::ptrdiff_t span = v.item_size;
  const std::vector<int> order = memory_order(v);
  for (auto d = order.rbegin(); d != order.rend(); ++d) {
    const std::ptrdiff_t stride = std::abs(v.stride(*d));
    if (stride < span) return v.size() == 0;
    span = stride * (v.shape[*d] - 1) + span;
  }
  return true;
}

Extent extent(const View& v) {
  const char *low = v.data, *high = low + v.item_size;
  if (v.size() == 0) return {low, low};
  for (int d = 0; d < v.ndim; ++d) {
    const std::ptrdiff_t reach = (v.shape[d] - 1) * v.stride(d);
    (reach < 0 ? low : high) += reach;
  }
  return {low, high};
}

void describe_layout(const View& v, const std::vector<int>& order, Gradient& out) {
  out.data = v.data;
  out.dims.clear();
  for (const int d : order) {
    const Gradient::Dim dim{v.shape[d], v.stride(d)};
    if (!out.dims.empty() && out.dims.back().stride == dim.stride * dim.size)
      out.dims.back() = {out.dims.back().size * dim.size, dim.stride};
    else
      out.dims.push_back(dim);
  }
  out.contiguous = out.dims.empty() || (out.dims.size() == 1 && out.dims[0].stride == v.item_size);
}

}  // namespace fusedstep::bind
