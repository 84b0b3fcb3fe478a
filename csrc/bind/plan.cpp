#include "bind/plan.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>

#include "driver/parallel.h"
#include "isa/dispatch.h"

namespace fusedstep::bind {
namespace {

// Looking at a few hundred arrays is waiting for memory: the next ones are asked for this far ahead.
constexpr std::size_t ahead = 8;

Decay decay_of(const std::string& name) {
  if (name == "l2") return Decay::l2;
  if (name == "decoupled") return Decay::decoupled;
  if (name == "proximal") return Decay::proximal;
  throw py::value_error("Plan: decay must be \"l2\", \"decoupled\" or \"proximal\"; got \"" + name + "\"");
}

bool same_shape(const py::array& a, const py::array& b) {
  return std::equal(a.shape(), a.shape() + a.ndim(), b.shape(), b.shape() + b.ndim());
}

}  // namespace

int rule_index(const std::string& name) {
  const KernelTable& table = kernels();
  for (int k = 0; k < table.rule_count; ++k)
    if (table.infos[k].name == name) return k;
  throw py::value_error("Plan: rule must be one that is compiled in; got \"" + name + "\"");
}

Group group_of_rule(int rule, unsigned variant, const std::vector<double>& hyper, double lr, double weight_decay,
                    double l1, const std::string& decay, bool maximize) {
  const RuleInfo& info = kernels().infos[rule];
  if (variant >> info.variant_bits || int(hyper.size()) != info.hyper_count)
    throw py::value_error("Plan: variant and hyper must be those of the rule");
  Group g{variant, {}, lr, weight_decay, l1, decay_of(decay), maximize};
  std::copy(hyper.begin(), hyper.end(), g.hyper);
  return g;
}

PyPlan::PyPlan(std::string label, const std::string& rule, const py::list& params, std::vector<std::string> names,
               const std::vector<int>& group_of, const py::list& states, const py::object& averages, double ema_decay)
    : label_(std::move(label)), step_label_(label_ + ".step"), names_(std::move(names)) {
  look_for_openmp();
  const std::size_t count = params.size();
  if (names_.size() != count || group_of.size() != count || states.size() != count)
    throw py::value_error("Plan: names, groups and states must be as many as the parameters");
  std::vector<Tensor> tensors(count);
  for (std::size_t k = 0; k < count; ++k) {
    tensors[k] = adopt_parameter(k, params[k]);
    tensors[k].group = group_of[k];
    const auto of_tensor = states[k].cast<py::sequence>();
    if (of_tensor.size() > max_states) throw py::value_error("Plan: a parameter has too many states");
    for (std::size_t s = 0; s < of_tensor.size(); ++s) tensors[k].states[s] = adopt_companion(k, of_tensor[s], "state");
    if (!averages.is_none()) tensors[k].ema = adopt_companion(k, averages[py::int_(k)], "ema");
  }
  check_owned();
  checked_gradients_.resize(count);
  can_zero_.resize(count);
  const int groups = group_of.empty() ? 0 : *std::max_element(group_of.begin(), group_of.end()) + 1;
  plan_.emplace(rule_index(rule), std::move(tensors), std::vector<Group>(std::size_t(groups)), ema_decay);
}

Tensor PyPlan::adopt_parameter(std::size_t k, py::handle object) {
  const Where where{label_, "params", std::ptrdiff_t(k), names_[k]};
  py::array p = require_parameter(object, where);
  own(p, where.text().substr(label_.size() + 2));
  Tensor t;
  t.p = p.mutable_data();
  t.size = p.size();
  t.dtype = dtype_of(p);
  orders_.push_back(memory_order(view_of(p)));
  t.gradient.dims.reserve(orders_.back().size());
  checked_params_.emplace_back(p);
  params_.push_back(std::move(p));
  return t;
}

/// The memory of a state or an average, which must lie like its parameter; null for None.
void* PyPlan::adopt_companion(std::size_t k, py::handle object, const char* what) {
  if (object.is_none()) return nullptr;
  const Where where{label_, what, std::ptrdiff_t(k), names_[k]};
  const py::array& p = params_[k];
  py::array a = require_parameter(object, where);
  Gradient layout;
  describe_layout(view_of(a), orders_[k], layout);
  if (!a.dtype().is(p.dtype()) || !same_shape(a, p) || (!layout.contiguous && a.size() > 0))
    refuse_value(where, "like its parameter", describe(a));
  own(a, where.text().substr(label_.size() + 2));
  return a.mutable_data();
}

void PyPlan::own(const py::array& array, std::string what) {
  const Extent e = extent(view_of(array));
  if (e.low != e.high) owned_.push_back({e, std::move(what), array});
}

void PyPlan::check_owned() {
  std::sort(owned_.begin(), owned_.end(), [](const Owned& a, const Owned& b) { return a.extent.low < b.extent.low; });
  for (std::size_t k = 1; k < owned_.size(); ++k)
    if (owned_[k].extent.low < owned_[k - 1].extent.high)
      throw py::value_error(label_ + ": " + owned_[k].what + " must not share memory with " + owned_[k - 1].what);
}

void PyPlan::set_group(std::size_t k, unsigned variant, const std::vector<double>& hyper, double lr,
                       double weight_decay, double l1, const std::string& decay, bool maximize) {
  require_idle();
  plan_->groups.at(k) = group_of_rule(plan_->rule(), variant, hyper, lr, weight_decay, l1, decay, maximize);
}

/// What a step uses must not change under its hands.
void PyPlan::require_idle() const {
  if (busy_) throw std::runtime_error(label_ + ": cannot be changed while another thread steps it");
}

StepInfo PyPlan::step(py::handle gradients, py::handle rates, double decay_scale, double clip_norm, double clip_value,
                      double grad_scale, bool skip_nonfinite, bool zero_gradients, int threads) {
  if (busy_.exchange(true))
    throw std::runtime_error(step_label_ + ": one thread at a time may step an optimizer; another one is doing so");
  const AtExit done{[this] {
    held_ = py::tuple();
    busy_ = false;
  }};
  check_parameters(step_label_);
  take_gradients(gradients, zero_gradients);
  const auto of_groups = rates.is_none() ? std::vector<double>() : rates.cast<std::vector<double>>();
  if (!rates.is_none() && of_groups.size() != plan_->groups.size())
    throw py::value_error(step_label_ + ": rates must be as many as the groups");
  const StepOptions options{decay_scale,
                            grad_scale,
                            clip_norm,
                            clip_value,
                            skip_nonfinite,
                            zero_gradients,
                            rates.is_none() ? nullptr : of_groups.data()};
  const int available = available_threads(threads);
  const py::gil_scoped_release release;
  return plan_->step(options, available);
}

void PyPlan::check_parameters(const std::string& call) const {
  for (std::size_t k = 0; k < params_.size(); ++k) {
    if (k + ahead < params_.size()) checked_params_[k + ahead].prefetch(params_[k + ahead]);
    const py::array& p = params_[k];
    if (checked_params_[k].matches(p)) continue;
    const Where where{call, "params", std::ptrdiff_t(k), names_[k]};
    if (!p.writeable()) refuse_value(where, "writeable", "a read-only " + describe(p));
    refuse_value(where, "what the optimizer was made with", describe(p) + ", changed since");
  }
}

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
    if (zero_gradients && active && !can_zero_[k]) refuse_to_zero(k, py::reinterpret_borrow<py::array>(gradient));
  }
  if (zero_gradients && !disjoint_) check_among_gradients();
}

void PyPlan::take_gradient(std::size_t k, py::handle object) {
  checked_gradients_[k] = {};
  Tensor& t = plan_->tensors[k];
  const py::array g = require_float_array(object, gradient_at(k));
  if (dtype_of(g) != t.dtype || !same_shape(g, params_[k]))
    refuse_value(gradient_at(k), describe(params_[k], " of shape "), describe(g));
  check_against_owned(k, g);
  describe_layout(view_of(g), orders_[k], t.gradient);
  can_zero_[k] = g.writeable() && (t.gradient.contiguous || is_disjoint(view_of(g)));
  disjoint_ = false;
  checked_gradients_[k] = Snapshot(g);
}

void PyPlan::refuse_to_zero(std::size_t k, const py::array& g) const {
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

std::vector<std::int64_t> PyPlan::tensor_steps() const {
  std::vector<std::int64_t> steps;
  for (const Tensor& t : plan_->tensors) steps.push_back(t.steps);
  return steps;
}

void PyPlan::set_steps(std::int64_t steps, const std::vector<std::int64_t>& of_tensors) {
  require_idle();
  plan_->steps = steps;
  for (std::size_t k = 0; k < plan_->tensors.size(); ++k) plan_->tensors[k].steps = of_tensors.at(k);
}

void bind_plan(py::module_& m) {
  py::class_<StepInfo>(m, "StepInfo", "What a step did.")
      .def_readonly("step", &StepInfo::step, "Steps taken so far, this one included.")
      .def_readonly("grad_norm", &StepInfo::grad_norm,
                    "Norm of the unscaled gradients; None unless clip_norm or skip_nonfinite asked for it.")
      .def_readonly("clip_coef", &StepInfo::clip_coef, "What clip_norm multiplied the gradients by; 1.0 without it.")
      .def_readonly("skipped", &StepInfo::skipped, "True if non-finite gradients left everything untouched.")
      .def("__repr__", [](const StepInfo& i) {
        return py::str("StepInfo(step={}, grad_norm={}, clip_coef={}, skipped={})")
            .format(i.step, i.grad_norm, i.clip_coef, i.skipped);
      });
  py::class_<PyPlan>(m, "Plan", "The arrays, groups and kernels of one optimizer.")
      .def(py::init<std::string, const std::string&, const py::list&, std::vector<std::string>, const std::vector<int>&,
                    const py::list&, const py::object&, double>(),
           py::arg("label"), py::arg("rule"), py::arg("params"), py::arg("names"), py::arg("group_of"),
           py::arg("states"), py::arg("averages"), py::arg("ema_decay"))
      .def("set_group", &PyPlan::set_group, py::arg("group"), py::arg("variant"), py::arg("hyper"), py::arg("lr"),
           py::arg("weight_decay"), py::arg("l1"), py::arg("decay"), py::arg("maximize"))
      .def("step", &PyPlan::step, py::arg("grads"), py::arg("rates"), py::arg("decay_scale"), py::arg("clip_norm"),
           py::arg("clip_value"), py::arg("grad_scale"), py::arg("skip_nonfinite"), py::arg("zero_grads"),
           py::arg("num_threads"))
      .def("check_parameters", &PyPlan::check_parameters, py::arg("call"))
      .def_property_readonly("steps", &PyPlan::steps)
      .def_property_readonly("tensor_steps", &PyPlan::tensor_steps)
      .def("set_steps", &PyPlan::set_steps, py::arg("steps"), py::arg("of_tensors"));
  m.def(
      "check_parameters",
      [](const std::string& label, const py::list& params, const std::vector<std::string>& names) {
        for (std::size_t k = 0; k < params.size(); ++k)
          require_parameter(params[k], {label, "params", std::ptrdiff_t(k), names.at(k)});
      },
      py::arg("label"), py::arg("params"), py::arg("names"), "Raises unless every array can be updated in place.");
}

}  // namespace fusedstep::bind
