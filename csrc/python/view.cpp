#include "python/view.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

namespace fusedstep::bind {

bool same_shape(const View& a, const View& b) {
  return a.ndim == b.ndim && std::equal(a.shape, a.shape + a.ndim, b.shape);
}

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

bool is_in_order(const View& v) {
  std::ptrdiff_t expected = v.item_size;
  for (int d = v.ndim; d-- > 0;) {
    if (v.shape[d] != 1 && v.stride(d) != expected) return v.size() == 0;
    expected *= v.shape[d];
  }
  return true;
}

namespace {

/// Finds out whether the equation sum(step[i] * x[i]) = target has a solution in integers with 0 <= x[i] <= most[i].
/// Each step[i] is at least 0. If the search takes more than 20,000 iterations, the answer is true.
class Equation {
 public:
  void add(std::ptrdiff_t step, std::ptrdiff_t most) {
    if (step == 0 || most <= 0) return;
    for (Term& t : terms_)
      if (t.step == step) return void(t.most += most);
    terms_.push_back({step, most});
  }

  bool solvable(std::ptrdiff_t target) {
    std::sort(terms_.begin(), terms_.end(), [](const Term& a, const Term& b) { return a.step > b.step; });
    std::ptrdiff_t divisor = 0, reach = 0;
    for (auto t = terms_.rbegin(); t != terms_.rend(); ++t) {
      t->divisor = divisor = std::gcd(divisor, t->step);
      t->reach = reach += t->step * t->most;
    }
    effort_ = 0;
    return search(0, target);
  }

 private:
  struct Term {
    std::ptrdiff_t step, most;
    std::ptrdiff_t divisor = 0, reach = 0;  // greatest common divisor and largest sum of this and all later terms
  };

  bool search(std::size_t k, std::ptrdiff_t target) {
    if (target == 0) return true;
    if (k == terms_.size()) return false;
    const Term& t = terms_[k];
    if (target < 0 || target > t.reach || target % t.divisor != 0) return false;
    if (++effort_ > 20000) return true;
    const std::ptrdiff_t behind = k + 1 < terms_.size() ? terms_[k + 1].reach : 0;
    const std::ptrdiff_t most = std::min(t.most, target / t.step);
    const std::ptrdiff_t least = target > behind ? (target - behind + t.step - 1) / t.step : 0;
    for (std::ptrdiff_t x = most; x >= least; --x)
      if (search(k + 1, target - x * t.step)) return true;
    return false;
  }

  std::vector<Term> terms_;
  int effort_ = 0;
};

bool has_whole_strides(const View& v) {
  for (int d = 0; d < v.ndim; ++d)
    if (v.stride(d) % v.item_size != 0) return false;
  return true;
}

/// True if each stride is at least the extent of all axes with smaller strides together. Then no two elements overlap.
/// This check is fast, and its result is true for nearly all arrays.
bool nests(const View& v) {
  std::ptrdiff_t span = v.item_size;
  const std::vector<int> order = memory_order(v);
  for (auto d = order.rbegin(); d != order.rend(); ++d) {
    const std::ptrdiff_t stride = std::abs(v.stride(*d));
    if (stride < span) return false;
    span += stride * (v.shape[*d] - 1);
  }
  return true;
}

}  // namespace

/// Let `lead` be the first axis in which the indices of two elements differ, and x >= 1 the difference of these
/// indices. The address of one element minus that of the other is stride(lead) * x plus terms for the later axes. The
/// elements share memory if the absolute value of this difference is less than the size of an item. If all strides are
/// multiples of this size, they share memory only if the difference is 0.
bool is_disjoint(const View& v) {
  if (v.size() == 0 || nests(v)) return true;
  const std::ptrdiff_t slack = has_whole_strides(v) ? 0 : v.item_size - 1;
  for (int lead = 0; lead < v.ndim; ++lead) {
    if (v.shape[lead] < 2) continue;
    Equation equation;
    std::ptrdiff_t target = slack - std::abs(v.stride(lead));  // for x = 1 and the lowest other terms
    equation.add(1, 2 * slack);
    equation.add(std::abs(v.stride(lead)), v.shape[lead] - 2);
    for (int d = lead + 1; d < v.ndim; ++d) {
      const std::ptrdiff_t stride = std::abs(v.stride(d)), most = v.shape[d] - 1;
      equation.add(stride, 2 * most);
      target += stride * most;
    }
    if (equation.solvable(target)) return false;
  }
  return true;
}

bool share_memory(const View& a, const View& b) {
  const Extent x = extent(a), y = extent(b);
  if (x.empty() || y.empty() || !x.meets(y)) return false;
  if (is_dense(a, memory_order(a)) && is_dense(b, memory_order(b))) return true;
  const bool whole =
      a.item_size == b.item_size && has_whole_strides(a) && has_whole_strides(b) && (x.low - y.low) % a.item_size == 0;
  // The bytes of a are numbered upwards from its lowest byte, and those of b downwards from its highest byte. If
  // strides are multiples of the size of an item, it is enough to compare the first bytes of the items.
  Equation equation;
  equation.add(1, whole ? 0 : a.item_size + b.item_size - 2);
  for (const View* v : {&a, &b})
    for (int d = 0; d < v->ndim; ++d) equation.add(std::abs(v->stride(d)), v->shape[d] - 1);
  return equation.solvable(y.high - (whole ? b.item_size : 1) - x.low);
}

Strided describe_layout(const View& v, const std::vector<int>& order, std::vector<Strided::Dim>& dims) {
  dims.clear();
  for (const int d : order) {
    const Strided::Dim dim{v.shape[d], v.stride(d)};
    if (!dims.empty() && dims.back().stride == dim.stride * dim.size)
      dims.back() = {dims.back().size * dim.size, dim.stride};
    else
      dims.push_back(dim);
  }
  const bool contiguous = dims.empty() || (dims.size() == 1 && dims[0].stride == v.item_size);
  return {v.data, contiguous, int(dims.size()), dims.data()};
}

Snapshot::Snapshot(const View& v) : data_(v.data), ndim_(v.ndim), dtype_(v.dtype), writeable_(v.writeable) {
  if (ndim_ > few) many_.resize(2 * std::size_t(ndim_));
  std::ptrdiff_t* const axes = ndim_ > few ? many_.data() : few_;
  for (int d = 0; d < ndim_; ++d) axes[d] = v.shape[d], axes[ndim_ + d] = v.stride(d);
}

View Snapshot::view() const { return {data_, item_size(dtype_), ndim_, axes(), axes() + ndim_, 1, dtype_, writeable_}; }

}  // namespace fusedstep::bind
