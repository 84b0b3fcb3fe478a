// Checks the arrays of a plan (parameters, states and averages), and stores their addresses in the plan.
#include "python/plan.h"

namespace fusedstep::bind {

/// Checks an array that is updated in place, and keeps its memory alive.
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

/// Checks a state or an average. It must have the given dtype, the shape and the memory order of its parameter, and no
/// gaps.
Held PyPlan::companion(std::size_t k, py::handle object, const char* argument, DType dtype) const {
  const Parameter& p = params_[k];
  Held held = hold(object, where(argument, k), true);
  const View v = held.seen.view();
  std::vector<Strided::Dim> dims;
  if (v.dtype != dtype || !same_shape(v, p.array.seen.view()) ||
      (!describe_layout(v, layouts_[k].order, dims).contiguous && v.size() > 0))
    refuse_value(where(argument, k),
                 std::string("an array of ") + name_of(dtype) + " with the shape and memory order of its parameter, " +
                     source_->describe(p.array.object),
                 source_->describe(object));
  return held;
}

/// Checks an array that has one item for every 256 elements of a parameter.
Held PyPlan::of_blocks(std::size_t k, py::handle object, const std::string& name, DType dtype) const {
  const std::ptrdiff_t count = block_count(params_[k].array.seen.view().size());
  const Where at = where(name.c_str(), k);
  Held held = hold(object, at, true);
  const View v = held.seen.view();
  if (v.dtype != dtype || v.size() != count || !is_in_order(v))
    refuse_value(at, std::string(name_of(dtype)) + " (" + std::to_string(count) + ",)", source_->describe(object));
  return held;
}

/// Checks an array that has one number for a parameter.
Held PyPlan::scalar(std::size_t k, py::handle object, const char* name) const {
  Held held = hold(object, where(name, k));
  if (const View v = held.seen.view(); is_half(v.dtype) || v.size() != 1)
    refuse_value(where(name, k), "an array with one element, of dtype float32 or float64", source_->describe(object));
  return held;
}

namespace {

/// An item of a state's dict. If the item is missing, the Python code that calls the core has a bug.
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

}  // namespace fusedstep::bind
