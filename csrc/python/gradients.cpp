// Checks the gradients of a step, and describes their memory for the kernels. A gradient that has not changed since the
// previous step is not checked again.
#include <algorithm>

#include "python/plan.h"

namespace fusedstep::bind {

/// Returns false if a parameter has a gradient but no state. A gradient is checked only if its address, dtype, shape or
/// strides have changed since the previous step. If `zero` is true, raises if a gradient cannot be zeroed.
bool PyPlan::take_gradients(bool zero) {
  bool ready = true;
  for (std::size_t k = 0; (k = source_->first_other(k, params_, inputs_.gradients)) < params_.size(); ++k) {
    Parameter& p = params_[k];
    const py::object& gradient = inputs_.gradients[k];
    const bool active = plan_->tensors[k].active = !gradient.is_none();
    if (active) look_at_gradient(k);
    ready = ready && (p.ready || !active);
    if (!active || !p.ready) p.gradient = {};
  }
  if (!ready || !zero) return ready;
  for (std::size_t k = 0; k < params_.size(); ++k)
    if (plan_->tensors[k].active && !params_[k].can_zero) refuse_to_zero(k);
  if (!disjoint_) check_among_gradients();
  return true;
}

void PyPlan::look_at_gradient(std::size_t k) {
  Parameter& p = params_[k];
  View v;
  switch (source_->look_at_gradient(k, inputs_.gradients[k].ptr(), p.gradient, v)) {
    case Source::Look::same:
      return;
    case Source::Look::other:
      return take_gradient(k, v);
    case Source::Look::unusable:
      p.gradient = {};
      source_->refuse_gradient(inputs_.gradients[k], p.array.object, gradient_at(k));
  }
}

/// If only the address of the gradient has changed since the previous step, only the address is updated.
void PyPlan::take_gradient(std::size_t k, const View& v) {
  Parameter& p = params_[k];
  Tensor& t = plan_->tensors[k];
  const bool moved = p.gradient.lies_like(v);
  p.gradient = {};
  if (!moved && (computed_in(v.dtype) != computed_in(t.dtype) || !same_shape(v, p.array.seen.view())))
    source_->refuse_gradient(inputs_.gradients[k], p.array.object, gradient_at(k));
  check_against_owned(k, v);
  disjoint_ = false;
  p.gradient = Snapshot(v);
  if (moved) return void(t.gradient.data = v.data);
  t.gradient = describe_layout(v, layouts_[k].order, layouts_[k].gradient_dims);
  t.gradient_dtype = v.dtype;
  t.lay_out();
  p.can_zero = v.writeable && (t.gradient.contiguous || is_disjoint(v));
}

void PyPlan::refuse_to_zero(std::size_t k) const {
  const std::string got = source_->describe(inputs_.gradients[k]);
  const View v = params_[k].gradient.view();
  if (!v.writeable) refuse_value(gradient_at(k), "writeable if zero_grads is True", "a read-only " + got);
  std::string strides;
  for (int d = 0; d < v.ndim; ++d) strides += (d ? ", " : "") + std::to_string(v.strides[d]);
  refuse_value(gradient_at(k), "without repeated elements if zero_grads is True",
               got + " with strides (" + strides + ") bytes");
}

/// Raises if the gradient shares memory with an array that the step writes. A gradient with gaps may be between the
/// rows of such an array. Their address ranges then overlap, although they may share no element. So, if the ranges
/// overlap, the elements are compared.
void PyPlan::check_against_owned(std::size_t k, const View& gradient) const {
  const Extent e = extent(gradient);
  if (e.empty()) return;
  auto o = std::upper_bound(owned_.begin(), owned_.end(), e.low,
                            [](const char* low, const Owned& owned) { return low < owned.reach; });
  for (; o != owned_.end() && o->extent.low < e.high; ++o)
    if (share_memory(gradient, o->seen->view()))
      refuse_value(gradient_at(k), "in memory of its own", "memory shared with " + what(*o));
}

/// Raises if two gradients share memory, because zeroing one of them would change the other.
void PyPlan::check_among_gradients() {
  std::vector<std::pair<Extent, std::size_t>> extents;
  for (std::size_t k = 0; k < params_.size(); ++k)
    if (plan_->tensors[k].active)
      if (const Extent e = extent(params_[k].gradient.view()); !e.empty()) extents.emplace_back(e, k);
  std::sort(extents.begin(), extents.end(), [](const auto& a, const auto& b) { return a.first.low < b.first.low; });
  for (std::size_t i = 0; i < extents.size(); ++i)
    for (std::size_t j = i + 1; j < extents.size() && extents[j].first.low < extents[i].first.high; ++j) {
      const auto [a, b] = std::minmax(extents[i].second, extents[j].second);
      if (share_memory(params_[a].gradient.view(), params_[b].gradient.view()))
        refuse_value(gradient_at(b), "in memory of its own if zero_grads is True",
                     "memory shared with grads[" + std::to_string(a) + "]");
    }
  disjoint_ = true;
}

}  // namespace fusedstep::bind
