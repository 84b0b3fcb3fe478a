// The gradients of a step: checked, and laid out for the kernels.
#include <algorithm>

#include "python/plan.h"

namespace fusedstep::bind {

void PyPlan::take_gradients(py::handle gradients, bool zero_gradients) {
  if (!PyList_Check(gradients.ptr()) && !PyTuple_Check(gradients.ptr()))
    throw py::type_error(step_label_ + ": grads must be a list, a tuple or a dict of arrays, one per parameter; got " +
                         describe(gradients));
  held_ = py::reinterpret_steal<py::tuple>(PySequence_Tuple(gradients.ptr()));
  if (!held_) throw py::error_already_set();
  if (held_.size() != params_.size())
    throw py::value_error(step_label_ + ": grads must have " + std::to_string(params_.size()) +
                          " entries, one per parameter; got " + std::to_string(held_.size()));
  for (std::size_t k = 0; k < params_.size(); ++k) {
    if (k + ahead < params_.size()) checked_gradients_[k + ahead].prefetch(PyTuple_GET_ITEM(held_.ptr(), k + ahead));
    const py::handle gradient = PyTuple_GET_ITEM(held_.ptr(), k);
    const bool active = plan_->tensors[k].active = !gradient.is_none();
    if (!active)
      checked_gradients_[k] = {};
    else if (!checked_gradients_[k].matches(gradient))
      take_gradient(k, gradient);
    if (zero_gradients && active && !can_zero_[k]) refuse_to_zero(k, gradient);
  }
  if (zero_gradients && !disjoint_) check_among_gradients();
}

void PyPlan::take_gradient(std::size_t k, py::handle object) {
  checked_gradients_[k] = {};
  Tensor& t = plan_->tensors[k];
  // Arithmetic on arrays of no axes gives scalars: such a gradient is read from an array made of it.
  const bool scalar = params_[k].ndim() == 0 && is_scalar(object);
  if (scalar) object = scalars_.emplace_back(py::array::ensure(object));
  const py::array g = require_float_array(object, gradient_at(k));
  if (dtype_of(g) != t.dtype || !same_shape(g, params_[k]))
    refuse_value(gradient_at(k), describe(params_[k], " of shape "), describe(g));
  check_against_owned(k, g);
  describe_layout(view_of(g), orders_[k], t.gradient);
  can_zero_[k] = !scalar && g.writeable() && (t.gradient.contiguous || is_disjoint(view_of(g)));
  disjoint_ = false;
  if (!scalar) checked_gradients_[k] = Snapshot(g);
}

void PyPlan::refuse_to_zero(std::size_t k, py::handle object) const {
  if (is_scalar(object)) refuse_type(gradient_at(k), "an array, to be zeroed", describe(object));
  const auto g = py::reinterpret_borrow<py::array>(object);
  if (!g.writeable()) refuse_value(gradient_at(k), "writeable, to be zeroed", "a read-only " + describe(g));
  refuse_value(gradient_at(k), "without repeated elements, to be zeroed",
               describe(g) + " with strides " + std::string(py::str(g.attr("strides"))));
}

void PyPlan::check_against_owned(std::size_t k, const py::array& g) const {
  const Extent e = extent(view_of(g));
  auto o = std::upper_bound(owned_.begin(), owned_.end(), e.low,
                            [](const char* low, const Owned& owned) { return low < owned.extent.high; });
  // A strided gradient may lie between others' rows: where the bounds overlap, the elements need not.
  for (; o != owned_.end() && o->extent.low < e.high && e.low != e.high; ++o)
    if (shares_memory(g, o->array)) refuse_value(gradient_at(k), "memory of its own", "memory shared with " + o->what);
}

/// Gradients that are zeroed must not be somebody else's to read.
void PyPlan::check_among_gradients() {
  std::vector<std::pair<Extent, std::size_t>> extents;
  for (std::size_t k = 0; k < held_.size(); ++k)
    if (plan_->tensors[k].active)
      if (const Extent e = extent(view_of(held_[k].cast<py::array>())); e.low != e.high) extents.emplace_back(e, k);
  std::sort(extents.begin(), extents.end(), [](const auto& a, const auto& b) { return a.first.low < b.first.low; });
  for (std::size_t i = 0; i < extents.size(); ++i)
    for (std::size_t j = i + 1; j < extents.size() && extents[j].first.low < extents[i].first.high; ++j) {
      const auto [a, b] = std::minmax(extents[i].second, extents[j].second);
      if (shares_memory(held_[a], held_[b]))
        refuse_value(gradient_at(b), "memory of its own, to be zeroed",
                     "memory shared with grads[" + std::to_string(a) + "]");
    }
  disjoint_ = true;
}

}  // namespace fusedstep::bind
