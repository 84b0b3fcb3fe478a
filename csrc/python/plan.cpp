#include "python/plan.h"

#include <pybind11/stl.h>

#include <algorithm>

#include "machine/parallel.h"
#include "python/bindings.h"
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

int rule_index(const std::string& name) {
  const StepKernels& table = step_kernels();
  for (int k = 0; k < table.rule_count; ++k)
    if (table.infos[k].name == name) return k;
  throw py::value_error("Plan: rule must be the name of an update rule; got \"" + name + "\"");
}

}  // namespace

PyPlan::Claim::Claim(PyPlan& plan, const std::string& call, const char* otherwise) : plan_(plan) {
  if (!take()) throw std::runtime_error(call + ": " + otherwise);
}

PyPlan::Claim::Claim(PyPlan& plan, const std::string& call) : plan_(plan) {
  while (!take()) {
    if (plan.claimant_ == std::this_thread::get_id())
      throw std::runtime_error(call + ": must end outside of steps; got an end inside a step of the same thread");
    const WithoutGil without;  // the other thread may need the GIL before it can end its claim
    std::this_thread::yield();
  }
}

bool PyPlan::Claim::take() {
  std::thread::id nobody;
  return plan_.claimant_.compare_exchange_strong(nobody, std::this_thread::get_id());
}

PyPlan::PyPlan(std::string label, const std::string& rule, std::unique_ptr<Source> source, const py::list& params,
               std::vector<std::string> names, const std::vector<int>& group_of, std::size_t groups,
               const Choices& choices)
    : label_(std::move(label)),
      step_label_(label_ + ".step"),
      source_(std::move(source)),
      names_(std::move(names)),
      averages_(choices.ema_decay.has_value()),
      keeps_bits_(choices.master_weights),
      state_dtypes_(groups),
      params_(params.size()),
      states_(params.size()),
      layouts_(params.size()) {
  look_for_openmp();
  if (names_.size() != params_.size() || group_of.size() != params_.size())
    throw py::value_error("Plan: names and group_of must have one item for each parameter");
  std::vector<Tensor> tensors(params_.size());
  for (std::size_t k = 0; k < params_.size(); ++k) {
    adopt_parameter(k, params[k], tensors[k]);
    tensors[k].group = group_of[k];
    tensors[k].place = choices.places.empty() ? Place{std::uint32_t(k)} : choices.places.at(k);
    if (group_of[k] < 0 || std::size_t(group_of[k]) >= groups)
      throw py::value_error("Plan: every parameter must be in one of the groups");
  }
  inputs_.gradients.resize(params_.size());
  plan_.emplace(rule_index(rule), std::move(tensors), std::vector<Group>(groups), choices.ema_decay.value_or(1.0));
  plan_->seed = choices.seed;
}

void PyPlan::adopt_parameter(std::size_t k, py::handle object, Tensor& t) {
  Parameter& p = params_[k];
  p.array = hold(object, where("params", k));
  own(p.array, "params", k);
  const View v = p.array.seen.view();
  Layout& layout = layouts_[k];
  layout.order = memory_order(v);
  layout.gradient_dims.reserve(layout.order.size());
  t.p = describe_layout(v, layout.order, layout.dims);
  t.size = v.size();
  t.dtype = v.dtype;
  t.format = format_of(v.dtype);
}

void PyPlan::own(const Held& held, const char* argument, std::size_t k) {
  if (!held) return;
  if (const Extent e = extent(held.seen.view()); !e.empty()) owned_.push_back({e, e.high, &held.seen, argument, k});
}

Group PyPlan::group_of(const Options& options) const {
  const auto& [variant, hyper, lr, weight_decay, l1, decay, maximize, state_dtype, rounding] = options;
  const RuleInfo& info = step_kernels().infos[plan_->rule()];
  if (variant >> info.variant_bits || int(hyper.size()) != info.hyper_count)
    throw py::value_error("Plan: variant and hyper must be those of the rule");
  Group g{variant, {}, lr, weight_decay, l1, decay_of(decay), maximize};
  std::copy(hyper.begin(), hyper.end(), g.hyper);
  g.stochastic_parameters = rounding == "stochastic";
  g.stochastic_states = rounding == "stochastic" || (rounding.empty() && !state_dtype.empty());
  return g;
}

void PyPlan::set_group(std::size_t k, const Options& options) {
  const Claim claim(*this, label_, stepped);
  const Group g = group_of(options);
  const bool same_width = state_dtypes_.at(k) == std::get<7>(options);
  for (std::size_t i = 0; i < params_.size(); ++i)
    if (params_[i].ready && std::size_t(plan_->tensors[i].group) == k &&
        (!same_width || !has_states(states_[i], g.variant)))
      throw py::value_error(label_ + ": the changed option of group " + std::to_string(k) +
                            " would add or remove a state array; make a new optimizer with this option");
  plan_->groups.at(k) = g;
  state_dtypes_[k] = std::get<7>(options);
}

bool PyPlan::has_states(const State& state, unsigned variant) const {
  const RuleInfo& info = step_kernels().infos[plan_->rule()];
  for (int s = 0; s < info.state_count; ++s)
    if (bool(state.arrays[s]) != ((variant & info.states[s].needs) == info.states[s].needs)) return false;
  return true;
}

std::string PyPlan::what(const Owned& o) const {
  return where(o.argument, o.parameter).text().substr(label_.size() + 2);
}

void PyPlan::settle() {
  const Claim claim(*this, label_, stepped);
  std::sort(owned_.begin(), owned_.end(), [](const Owned& a, const Owned& b) { return a.extent.low < b.extent.low; });
  for (std::size_t i = 0; i < owned_.size(); ++i) {
    owned_[i].reach = i == 0 ? owned_[i].extent.high : std::max(owned_[i - 1].reach, owned_[i].extent.high);
    for (std::size_t j = i + 1; j < owned_.size() && owned_[j].extent.low < owned_[i].extent.high; ++j)
      if (share_memory(owned_[i].seen->view(), owned_[j].seen->view()))
        throw py::value_error(label_ + ": " + what(owned_[j]) + " must not share memory with " + what(owned_[i]));
  }
  // the gradients must be checked again, because they may share memory with the states that have just been attached
  for (Parameter& p : params_) p.gradient = {};
  source_->settle();
}

bool PyPlan::follow_options() {
  const Claim claim(*this, label_, stepped);
  return source_->follow_options();
}

bool PyPlan::parameters_unchanged() const {
  return source_->first_changed(0, params_, Snapshot::Use::write) == params_.size() &&
         source_->all_still(kept_, Snapshot::Use::write);
}

void PyPlan::require_unchanged(const std::string& call, Snapshot::Use use) const {
  const std::size_t k = source_->first_changed(0, params_, use);
  if (k == params_.size()) return;
  const Held& p = params_[k].array;
  const Where where{call, "params", std::ptrdiff_t(k), names_[k]};
  View v;
  if (use == Snapshot::Use::write && source_->look(p.object.ptr(), v) && !v.writeable)
    refuse_value(where, "writeable", "a read-only " + source_->describe(p.object));
  refuse_value(where, "at the same memory address, with the same layout and dtype, as when the optimizer was made",
               "a changed " + source_->describe(p.object));
}

int PyPlan::traverse(visitproc visit, void* arg) const {
  const auto visit_held = [&](const Held& h) {
    Py_VISIT(h.object.ptr());
    Py_VISIT(h.memory.ptr());
    return 0;
  };
  int stop = 0;
  for (const Parameter& p : params_)
    if ((stop = visit_held(p.array)) != 0) return stop;
  for (const State& s : states_)
    if (!s.all([&](const Held& h) { return (stop = visit_held(h)) == 0; })) return stop;
  for (const Held& h : swapped_)
    if ((stop = visit_held(h)) != 0) return stop;
  for (const py::object& g : inputs_.gradients) Py_VISIT(g.ptr());
  for (const auto& [k, rows] : inputs_.rows) Py_VISIT(rows.ptr());
  Py_VISIT(holder_.ptr());
  return source_->traverse(visit, arg);
}

namespace {

void collect_garbage(PyHeapTypeObject* type) {
  type->ht_type.tp_flags |= Py_TPFLAGS_HAVE_GC;
  type->ht_type.tp_traverse = [](PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    return py::detail::is_holder_constructed(self) ? py::cast<PyPlan&>(py::handle(self)).traverse(visit, arg) : 0;
  };
}

}  // namespace

void bind_plan(py::module_& m) {
  const auto plan = py::class_<PyPlan>(m, "Plan", "The arrays, groups and kernels of one optimizer.",
                                       py::custom_type_setup(collect_garbage))
                        .def("set_group", &PyPlan::set_group, py::arg("group"), py::arg("options"))
                        .def("attach", &PyPlan::attach, py::arg("param"), py::arg("state"), py::arg("steps") = 0)
                        .def("settle", &PyPlan::settle)
                        .def("squares", &PyPlan::squares, py::arg("grads"), py::arg("classes"), py::arg("zero_grads"),
                             py::arg("num_threads") = 0)
                        .def("follow_options", &PyPlan::follow_options)
                        .def("restore", &PyPlan::restore, py::arg("steps"), py::arg("of_tensors"), py::arg("pairs"),
                             py::arg("groups"), py::arg("updates"))
                        .def("reserve", &PyPlan::reserve, py::arg("method"), py::arg("holder"))
                        .def("swap", &PyPlan::swap, py::arg("others"))
                        .def("release", &PyPlan::release, py::arg("holder"))
                        .def_property_readonly("reserved_by", &PyPlan::reserved_by)
                        .def_property_readonly("steps", &PyPlan::steps)
                        .def_property_readonly("tensor_steps", &PyPlan::tensor_steps);
  bind_info(m);
  bind_step(plan);
  bind_rows(m);
  bind_numpy(m);
  bind_torch(m);
}

}  // namespace fusedstep::bind
