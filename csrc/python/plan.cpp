#include "python/plan.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <thread>

#include "machine/parallel.h"
#include "python/bindings.h"
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
  throw py::value_error("Plan: rule must be one that is compiled in; got \"" + name + "\"");
}

}  // namespace

PyPlan::Claim::Claim(PyPlan& plan, const std::string& call, const char* otherwise) : plan_(plan) {
  if (plan.claimed_.exchange(true)) throw std::runtime_error(call + ": " + otherwise);
}

PyPlan::Claim::Claim(PyPlan& plan) : plan_(plan) {
  while (plan.claimed_.exchange(true)) std::this_thread::yield();
}

namespace {
constexpr char stepped[] = "cannot be changed while another thread steps it";
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

/// Checks and keeps an array that is updated in place.
Held PyPlan::hold(py::handle whole, const Where& where, bool stored) const {
  py::object object = source_->part(whole);
  View v;
  const bool known = stored ? source_->look_at_stored(object.ptr(), v) : source_->look(object.ptr(), v);
  if (!known || !v.writeable || !is_disjoint(v)) source_->refuse(object, where);
  if (!source_->user_may_replace() && !is_dense(v, memory_order(v))) source_->refuse(object, where);
  const Snapshot seen(v);
  py::object memory = source_->keep(object, seen.view(), where);
  return {std::move(object), std::move(memory), seen};
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

/// A state or an average: an array with the shape and memory order of its parameter, without gaps.
Held PyPlan::companion(std::size_t k, py::handle object, const char* argument, DType dtype) const {
  const Parameter& p = params_[k];
  Held held = hold(object, where(argument, k), true);
  const View v = held.seen.view();
  std::vector<Strided::Dim> dims;
  if (v.dtype != dtype || !same_shape(v, p.array.seen.view()) ||
      (!describe_layout(v, layouts_[k].order, dims).contiguous && v.size() > 0))
    refuse_value(where(argument, k), "like its parameter, " + source_->describe(p.array.object),
                 source_->describe(object));
  return held;
}

/// An array with one item for each block of a parameter.
Held PyPlan::of_blocks(std::size_t k, py::handle object, const std::string& name, DType dtype) const {
  const std::ptrdiff_t count = block_count(params_[k].array.seen.view().size());
  const Where at = where(name.c_str(), k);
  Held held = hold(object, at, true);
  const View v = held.seen.view();
  if (v.dtype != dtype || v.size() != count || !is_in_order(v))
    refuse_value(at, std::string(dtype == DType::f32 ? "float32" : "int32") + " (" + std::to_string(count) + ",)",
                 source_->describe(object));
  return held;
}

Held PyPlan::scalar(std::size_t k, py::handle object, const char* name) const {
  Held held = hold(object, where(name, k));
  if (const View v = held.seen.view(); is_half(v.dtype) || v.size() != 1)
    refuse_value(where(name, k), "float32 or float64, and one number", source_->describe(object));
  return held;
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

namespace {

/// An item of a state's dict. The caller has created it, so it must be there.
py::object item(const py::dict& state, const char* name) {
  PyObject* const value = PyDict_GetItemString(state.ptr(), name);
  if (!value) throw py::value_error(std::string("Plan: a state must have \"") + name + "\"");
  return py::reinterpret_borrow<py::object>(value);
}

}  // namespace

DType PyPlan::state_dtype(const Tensor& t) const {
  const std::string& name = state_dtypes_[std::size_t(t.group)];
  if (name == "uint8") return DType::u8;
  if (name == "bfloat16") return DType::bf16;
  return name == "float32" || (keeps_bits_ && is_half(t.dtype)) ? computed_in(t.dtype) : t.dtype;
}

void PyPlan::attach_states(std::size_t k, const py::dict& entry) {
  State& of = states_[k];
  Tensor& t = plan_->tensors[k];
  const RuleInfo& info = step_kernels().infos[plan_->rule()];
  const unsigned variant = plan_->groups[std::size_t(t.group)].variant;
  const DType dtype = state_dtype(t);
  for (int s = 0; s < info.state_count; ++s) {
    const auto& [name, needs, positive] = info.states[s];
    if ((variant & needs) != needs) continue;
    of.arrays[s] = companion(k, item(entry, name), "state", dtype);
    t.states[s] = of.arrays[s].data();
    own(of.arrays[s], "state", k);
    t.state_formats[s] = dtype != DType::u8 ? format_of(dtype) : positive ? Format::u8_positive : Format::u8;
    if (dtype != DType::u8) continue;
    const std::string scale = std::string(name) + "_scale";
    of.scales[s] = of_blocks(k, item(entry, scale.c_str()), scale, DType::f32);
    t.scales[s] = of.scales[s].data();
    own(of.scales[s], "state", k);
  }
}

void PyPlan::attach_bits(std::size_t k, const py::dict& entry) {
  State& of = states_[k];
  Tensor& t = plan_->tensors[k];
  const bool low = t.dtype == DType::bf16;
  const char* const name = low ? "low" : "master";
  t.format = low ? Format::bf16_low : Format::f16_master;
  of.low = companion(k, item(entry, name), name, low ? DType::i16 : DType::f32);
  t.low = of.low.data();
  own(of.low, name, k);
  if (!low) return;
  of.sums = of_blocks(k, item(entry, "low_sum"), "low_sum", DType::i32);
  t.sums = of.sums.data();
  own(of.sums, "low_sum", k);
}

template <class Visit>
bool PyPlan::State::all(Visit&& visit) const {
  return visit(average) && visit(count) && visit(low) && visit(sums) &&
         std::all_of(arrays, arrays + max_states, visit) && std::all_of(scales, scales + max_states, visit) &&
         std::all_of(scalars, scalars + max_scalars, visit);
}

void PyPlan::attach(std::size_t k, const std::optional<py::dict>& state, std::int64_t steps) {
  const Claim claim(*this, label_, stepped);
  State& of = states_.at(k);
  Tensor& t = plan_->tensors[k];
  const RuleInfo& info = step_kernels().infos[plan_->rule()];
  const py::dict entry = state.value_or(py::dict());
  if (state) source_->rely_on(entry);
  attach_states(k, entry);
  if (keeps_bits_ && is_half(t.dtype)) attach_bits(k, entry);
  for (int s = 0; s < info.scalar_count; ++s)
    of.scalars[s] = scalar(k, item(entry, info.scalars[s].name), info.scalars[s].name);
  if (averages_) of.average = companion(k, item(entry, "ema"), "ema", computed_in(t.dtype));
  if (entry.contains("step")) of.count = scalar(k, item(entry, "step"), "step");
  for (const Held& s : of.scalars) own(s, "state", k);
  t.ema = of.average.data();
  t.steps = steps;
  has_scalars_ = has_scalars_ || of.count || of.scalars[0];
  own(of.average, "ema", k), own(of.count, "step", k);
  t.lay_out();
  of.all([this](const Held& held) {
    if (held) kept_.push_back(&held);
    return true;
  });
  params_[k].ready = true;
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
  for (Parameter& p : params_) p.gradient = {};  // was checked only against what was attached before
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
  refuse_value(where, "unchanged in memory, layout and dtype since the optimizer was made",
               source_->describe(p.object));
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
