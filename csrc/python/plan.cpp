#include "python/plan.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>

#include "machine/parallel.h"
#include "python/gil.h"
#include "python/step.h"
#include "step/kernel.h"

namespace fusedstep::bind {
namespace {

Decay decay_of(const std::string& name) {
  if (name == "l2") return Decay::l2;
  if (name == "decoupled") return Decay::decoupled;
  if (name == "proximal") return Decay::proximal;
  throw py::value_error("Plan: decay must be \"l2\", \"decoupled\" or \"proximal\"; got \"" + name + "\"");
}

}  // namespace

int rule_index(const std::string& name) {
  const StepKernels& table = step_kernels();
  for (int k = 0; k < table.rule_count; ++k)
    if (table.infos[k].name == name) return k;
  throw py::value_error("Plan: rule must be one that is compiled in; got \"" + name + "\"");
}

Group group_of_rule(int rule, unsigned variant, const std::vector<double>& hyper, double lr, double weight_decay,
                    double l1, const std::string& decay, bool maximize) {
  const RuleInfo& info = step_kernels().infos[rule];
  if (variant >> info.variant_bits || int(hyper.size()) != info.hyper_count)
    throw py::value_error("Plan: variant and hyper must be those of the rule");
  Group g{variant, {}, lr, weight_decay, l1, decay_of(decay), maximize};
  std::copy(hyper.begin(), hyper.end(), g.hyper);
  return g;
}

PyPlan::PyPlan(std::string label, const std::string& rule, const py::list& params, std::vector<std::string> names,
               const std::vector<int>& group_of, const py::list& states, const py::object& averages, double ema_decay,
               int threads)
    : label_(std::move(label)), step_label_(label_ + ".step"), names_(std::move(names)), threads_(threads) {
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

/// The memory of a state or an average; null for None.
void* PyPlan::adopt_companion(std::size_t k, py::handle object, const char* what) {
  if (object.is_none()) return nullptr;
  const Where where{label_, what, std::ptrdiff_t(k), names_[k]};
  py::array a = require_companion(k, object, where);
  own(a, where.text().substr(label_.size() + 2));
  return a.mutable_data();
}

/// An array that lies like its parameter.
py::array PyPlan::require_companion(std::size_t k, py::handle object, const Where& where) const {
  const py::array& p = params_[k];
  py::array a = require_parameter(object, where);
  Gradient layout;
  describe_layout(view_of(a), orders_[k], layout);
  if (!a.dtype().is(p.dtype()) || !same_shape(a, p) || (!layout.contiguous && a.size() > 0))
    refuse_value(where, "like its parameter", describe(a));
  return a;
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
                      double grad_scale, bool skip_nonfinite, bool zero_gradients) {
  if (busy_.exchange(true))
    throw std::runtime_error(step_label_ + ": one thread at a time may step an optimizer; another one is doing so");
  const AtExit done{[this] {
    held_ = py::tuple();
    scalars_.clear();
    busy_ = false;
  }};
  require_own(step_label_);
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
  const int available = plan_->useful_threads() > 1 ? available_threads(threads_) : 1;
  const WithoutGil without_gil;
  return plan_->step(options, available);
}

void PyPlan::require_own(const std::string& call) const {
  if (!lent_to_.empty()) throw std::runtime_error(call + ": not inside " + lent_to_ + "()");
}

void PyPlan::lend(const std::string& to, const py::object& borrower) {
  const std::string call = label_ + "." + to;
  if (busy_) throw std::runtime_error(call + ": not while another thread steps the optimizer");
  require_own(call);
  lent_to_ = to;
  borrower_ = borrower;
}

void PyPlan::exchange(const py::list& others) {
  require_idle();
  check_parameters(lent_call());
  if (others.size() != params_.size()) throw py::value_error("Plan: arrays must be as many as the parameters");
  std::vector<py::array> arrays;
  for (std::size_t k = 0; k < params_.size(); ++k)
    arrays.push_back(require_companion(k, others[k], {label_, "values", std::ptrdiff_t(k), names_[k]}));
  for (std::size_t k = 0; k < params_.size(); ++k) plan_->exchange(k, arrays[k].mutable_data());
  exchanged_ = std::move(arrays);
}

/// What was made read-only in between is put back all the same; what was resized cannot be.
void PyPlan::take_back(const py::object& borrower) {
  if (!borrower.is(borrower_)) return;
  if (!exchanged_.empty()) check_parameters(lent_call(), Snapshot::Use::read);
  for (std::size_t k = 0; k < exchanged_.size(); ++k) plan_->exchange(k, exchanged_[k].mutable_data());
  exchanged_.clear();
  borrower_ = py::object();
  lent_to_.clear();
}

void PyPlan::check_parameters(const std::string& call, Snapshot::Use use) const {
  for (std::size_t k = 0; k < params_.size(); ++k) {
    if (k + ahead < params_.size()) checked_params_[k + ahead].prefetch(params_[k + ahead]);
    const py::array& p = params_[k];
    if (checked_params_[k].matches(p, use)) continue;
    const Where where{call, "params", std::ptrdiff_t(k), names_[k]};
    if (use == Snapshot::Use::write && !p.writeable()) refuse_value(where, "writeable", "a read-only " + describe(p));
    refuse_value(where, "what the optimizer was made with", describe(p) + ", changed since");
  }
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
  const auto plan =
      py::class_<PyPlan>(m, "Plan", "The arrays, groups and kernels of one optimizer.")
          .def(py::init<std::string, const std::string&, const py::list&, std::vector<std::string>,
                        const std::vector<int>&, const py::list&, const py::object&, double, int>(),
               py::arg("label"), py::arg("rule"), py::arg("params"), py::arg("names"), py::arg("group_of"),
               py::arg("states"), py::arg("averages"), py::arg("ema_decay"), py::arg("num_threads"))
          .def("set_group", &PyPlan::set_group, py::arg("group"), py::arg("variant"), py::arg("hyper"), py::arg("lr"),
               py::arg("weight_decay"), py::arg("l1"), py::arg("decay"), py::arg("maximize"))
          .def("lend", &PyPlan::lend, py::arg("to"), py::arg("borrower"))
          .def("exchange", &PyPlan::exchange, py::arg("others"))
          .def("take_back", &PyPlan::take_back, py::arg("borrower"))
          .def_property_readonly("lent_to", &PyPlan::lent_to)
          .def_property_readonly("steps", &PyPlan::steps)
          .def_property_readonly("tensor_steps", &PyPlan::tensor_steps)
          .def("set_steps", &PyPlan::set_steps, py::arg("steps"), py::arg("of_tensors"));
  bind_step(m, plan);
  m.def(
      "check_parameters",
      [](const std::string& label, const py::list& params, const std::vector<std::string>& names) {
        for (std::size_t k = 0; k < params.size(); ++k)
          require_parameter(params[k], {label, "params", std::ptrdiff_t(k), names.at(k)});
      },
      py::arg("label"), py::arg("params"), py::arg("names"), "Raises unless every array can be updated in place.");
}

}  // namespace fusedstep::bind
