// The methods of Plan that replace the values of arrays: they exchange the values of parameters with those of other
// arrays, and load a saved state.
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "python/plan.h"
#include "step/blocks.h"

namespace fusedstep::bind {

void PyPlan::reserve(const std::string& method, const py::object& holder) {
  const Claim claim(*this, call(method), "cannot be called while another thread steps the optimizer");
  require_free(call(method));
  reserved_by_ = method;
  holder_ = holder;
}

void PyPlan::swap(const py::list& others) {
  const Claim claim(*this, call(reserved_by_), "cannot be called while another thread steps the optimizer");
  if (others.size() != params_.size())
    throw py::value_error("Plan: others must have one array or None for each parameter");
  std::vector<Held> held(params_.size());
  for (std::size_t k = 0; k < params_.size(); ++k)
    if (!others[k].is_none()) held[k] = companion(k, others[k], "values", plan_->tensors[k].dtype);
  require_unchanged(call(reserved_by_), Snapshot::Use::write);
  swapped_ = std::move(held);
  source_->wrote(exchange());
}

py::list PyPlan::exchange() {
  py::list written;
  for (std::size_t k = 0; k < swapped_.size(); ++k)
    if (swapped_[k]) written.append(params_[k].array.object);
  for (std::size_t k = 0; k < swapped_.size(); ++k)
    if (swapped_[k]) exchange_parameter(plan_->tensors[k], swapped_[k].data());
  return written;
}

/// A parameter that was made read-only after `swap` is restored nevertheless. A parameter that was resized after `swap`
/// cannot be restored.
void PyPlan::release(const py::object& holder) {
  if (!holder.is(holder_)) return;
  const Claim claim(*this, call(reserved_by_));
  if (!swapped_.empty()) require_unchanged(call(reserved_by_), Snapshot::Use::read);
  const py::list written = exchange();
  const auto kept = std::exchange(swapped_, {});
  holder_ = py::object();
  reserved_by_.clear();
  source_->wrote(written);  // last, because a signal handler may raise here (Ctrl-C)
}

std::vector<std::int64_t> PyPlan::tensor_steps() const {
  std::vector<std::int64_t> steps;
  for (const Tensor& t : plan_->tensors) steps.push_back(t.steps);
  return steps;
}

void PyPlan::restore(std::int64_t steps, const std::vector<std::int64_t>& of_tensors, const py::list& pairs,
                     const std::vector<Options>& groups, const py::list& updates) {
  const Claim claim(*this, call("load_state_dict"), "cannot be called while another thread steps the optimizer");
  std::vector<std::pair<View, View>> views;
  for (const py::handle pair : pairs) {
    auto& [target, from] = views.emplace_back();
    const auto both = py::reinterpret_borrow<py::tuple>(pair);
    if (!source_->look_at_stored(PyTuple_GET_ITEM(both.ptr(), 0), target) ||
        !source_->look_at_stored(PyTuple_GET_ITEM(both.ptr(), 1), from) ||
        extent(target).high - extent(target).low != extent(from).high - extent(from).low)
      throw py::value_error("Plan: sources must have the layout of their targets");
  }
  std::vector<Group> options;
  for (const Options& g : groups) options.push_back(group_of(g));
  const auto same_variant = [](const Group& a, const Group& b) { return a.variant == b.variant; };
  if (!std::equal(options.begin(), options.end(), plan_->groups.begin(), plan_->groups.end(), same_variant) ||
      of_tensors.size() != plan_->tensors.size())
    throw py::value_error("Plan: groups and counts must be those of the plan");
  for (const auto& [target, from] : views) {
    const Extent to = extent(target), of = extent(from);
    std::memcpy(const_cast<char*>(to.low), of.low, std::size_t(to.high - to.low));
  }
  plan_->groups = std::move(options);
  plan_->steps = steps;
  for (std::size_t k = 0; k < of_tensors.size(); ++k) plan_->tensors[k].steps = of_tensors[k];
  for (const py::handle update : updates)
    if (PyDict_Update(PyTuple_GET_ITEM(update.ptr(), 0), PyTuple_GET_ITEM(update.ptr(), 1)) != 0)
      throw py::error_already_set();
}

}  // namespace fusedstep::bind
