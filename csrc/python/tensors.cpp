#include "python/tensors.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>

#include "machine/parallel.h"
#include "python/gil.h"
#include "python/plan.h"
#include "python/step.h"

namespace fusedstep::bind {
namespace {

// A counter is a scalar of float32 or float64, as torch has it. A float32 rounds from 2^24 on; the plan's count does
// not.
double read_count(const WatchedTensor& t) {
  return t.dtype() == DType::f32 ? *static_cast<float*>(t.data()) : *static_cast<double*>(t.data());
}
double as_count(const WatchedTensor& t, std::int64_t steps) {
  return t.dtype() == DType::f32 ? double(float(steps)) : double(steps);
}
void write_count(const WatchedTensor& t, std::int64_t steps) {
  if (t.dtype() == DType::f32)
    *static_cast<float*>(t.data()) = float(steps);
  else
    *static_cast<double*>(t.data()) = double(steps);
}

/// Of a number or of a tensor of one element; null where a group has none.
double rate_of(PyObject* object, const Where& where) {
  if (!object) refuse_type(where, "a number", "nothing");
  const double rate = PyFloat_AsDouble(object);
  if (rate == -1 && PyErr_Occurred()) {
    PyErr_Clear();
    refuse_type(where, "a number", py::repr(object));
  }
  if (!(rate >= 0 && std::isfinite(rate))) refuse_value(where, "finite and at least 0", py::repr(object));
  return rate;
}

py::object grad_of(py::handle tensor) {
  static PyObject* const name = PyUnicode_InternFromString("grad");
  PyObject* grad = PyObject_GetAttr(tensor.ptr(), name);
  if (!grad) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(grad);
}

[[noreturn]] void refuse_gradient(const Where& where, const WatchedTensor& target, py::handle gradient) {
  const std::string got = describe_tensor(gradient);
  if (py::getattr(gradient, "is_sparse", py::bool_(false)).cast<bool>())  // RuntimeError, as in torch
    throw std::runtime_error(where.text() + " must be dense, sparse gradients are not supported; got " + got);
  refuse_value(where, describe_tensor(target.tensor()), got);
}

}  // namespace

TensorPlan::TensorPlan(std::string label, const std::string& rule, const py::object& tensor_type,
                       py::object increment_version, py::list groups, py::dict state, const py::list& params,
                       const py::list& targets, const py::list& idle, std::vector<std::string> names,
                       const std::vector<int>& group_of, double ema_decay)
    : label_(std::move(label)),
      step_label_(label_ + ".step"),
      names_(std::move(names)),
      describe_(require_describe(tensor_type, label_)),
      increment_version_(std::move(increment_version)),
      groups_(std::move(groups)),
      state_(std::move(state)) {
  const std::size_t count = params.size();
  if (targets.size() != count || names_.size() != count || group_of.size() != count)
    throw py::value_error("TensorPlan: targets, names and groups must be as many as the parameters");
  std::vector<Tensor> tensors(count);
  for (std::size_t k = 0; k < count; ++k) {
    Parameter p{params[k], adopt(targets[k], where("params", k)), {}, {}, {}, {}};
    p.order = memory_order(p.target.view());
    tensors[k].p = p.target.data();
    tensors[k].size = p.target.view().size();
    tensors[k].dtype = p.target.dtype();
    tensors[k].group = group_of[k];
    tensors[k].gradient.dims.reserve(p.order.size());
    params_.push_back(std::move(p));
  }
  for (const py::handle p : idle) idle_.push_back(py::reinterpret_borrow<py::object>(p));
  gradients_.resize(count);
  plan_.emplace(rule_index(rule), std::move(tensors), std::vector<Group>(groups_.size()), ema_decay);
}

/// A tensor that is updated in place.
WatchedTensor TensorPlan::adopt(py::handle object, const Where& where) {
  WatchedTensor tensor(object, describe_, require_tensor(object, describe_, where));
  if (!is_dense(tensor.view(), memory_order(tensor.view())))
    refuse_value(where, "dense, without gaps or repeated elements", describe_tensor(object));
  if (const Extent e = extent(tensor.view()); e.low != e.high)
    owned_.push_back({e, where.text().substr(label_.size() + 2)});
  return tensor;
}

/// A state or an average, which must lie like its parameter; nothing for None.
WatchedTensor TensorPlan::adopt_companion(std::size_t k, py::handle object, const char* what, DType dtype) {
  if (object.is_none()) return {};
  const Parameter& p = params_[k];
  WatchedTensor tensor = adopt(object, where(what, k));
  Gradient layout;
  const bool alike = tensor.dtype() == dtype && tensor.same_shape(p.target.view());
  if (alike) describe_layout(tensor.view(), p.order, layout);
  if (!alike || (!layout.contiguous && tensor.view().size() > 0))
    refuse_value(where(what, k), "like its parameter, " + describe_tensor(p.target.tensor()), describe_tensor(object));
  return tensor;
}

WatchedTensor TensorPlan::adopt_count(std::size_t k, py::handle object) {
  if (object.is_none()) return {};
  WatchedTensor tensor = adopt(object, where("step", k));
  if (is_half(tensor.dtype()) || tensor.view().size() != 1)
    refuse_value(where("step", k), "a float32 or float64 tensor of one number", describe_tensor(object));
  return tensor;
}

void TensorPlan::set_group(std::size_t k, unsigned variant, const std::vector<double>& hyper, double weight_decay,
                           double l1, const std::string& decay, bool maximize) {
  require_idle();
  plan_->groups.at(k) = group_of_rule(plan_->rule(), variant, hyper, 0.0, weight_decay, l1, decay, maximize);
}

void TensorPlan::attach(std::size_t k, const py::list& states, const py::object& count, std::int64_t steps,
                        const py::object& average) {
  require_idle();
  Parameter& p = params_.at(k);
  Tensor& t = plan_->tensors[k];
  if (states.size() > max_states) throw py::value_error("TensorPlan: a parameter has too many states");
  p.states.clear();
  for (std::size_t s = 0; s < states.size(); ++s) {
    p.states.push_back(adopt_companion(k, states[s], "state", t.dtype));
    t.states[s] = p.states.back().data();
  }
  p.average = adopt_companion(k, average, "ema", computed_in(t.dtype));
  t.ema = p.average.data();
  p.count = adopt_count(k, count);
  t.steps = steps;
  p.ready = true;
}

void TensorPlan::watch() {
  require_idle();
  std::sort(owned_.begin(), owned_.end(), [](const Owned& a, const Owned& b) { return a.extent.low < b.extent.low; });
  for (std::size_t k = 1; k < owned_.size(); ++k)
    if (owned_[k].extent.low < owned_[k - 1].extent.high)
      throw py::value_error(label_ + ": " + owned_[k].what + " must not share memory with " + owned_[k - 1].what);
  watched_groups_ = WatchedList(groups_);
  watched_state_ = WatchedDict(state_);
  group_dicts_.clear(), members_.clear(), entries_.clear();
  for (const py::handle group : groups_) {
    group_dicts_.emplace_back(group.cast<py::dict>(), "lr");
    members_.emplace_back(group["params"].cast<py::list>());
  }
  for (const auto& [key, entry] : state_)
    if (py::isinstance<py::dict>(entry)) entries_.emplace_back(entry.cast<py::dict>());
}

/// What a step uses must not change under its hands.
void TensorPlan::require_idle() const {
  if (busy_) throw std::runtime_error(label_ + ": cannot be changed while another thread steps it");
}

bool TensorPlan::tensors_unchanged(const Parameter& p) const {
  return p.target.unchanged() && p.count.unchanged() && p.average.unchanged() &&
         std::all_of(p.states.begin(), p.states.end(), [](const WatchedTensor& t) { return t.unchanged(); });
}

namespace {

template <class List>
bool all_unchanged(const List& list) {
  return std::all_of(list.begin(), list.end(), [](const auto& one) { return one.unchanged(); });
}

}  // namespace

bool TensorPlan::unchanged() const { return all_unchanged(group_dicts_) && unchanged_but_options(); }

bool TensorPlan::unchanged_but_options() const {
  return watched_groups_.unchanged() && watched_state_.unchanged() && all_unchanged(members_) &&
         all_unchanged(entries_) &&
         std::all_of(idle_.begin(), idle_.end(), [](py::handle p) { return grad_of(p).is_none(); }) &&
         std::all_of(params_.begin(), params_.end(), [&](const Parameter& p) { return tensors_unchanged(p); });
}

bool TensorPlan::watch_options() {
  require_idle();
  if (!unchanged_but_options()) return false;
  std::vector<WatchedDict> dicts;
  for (const py::handle group : groups_) {
    if (!members_[dicts.size()].is(group["params"])) return false;
    dicts.emplace_back(group.cast<py::dict>(), "lr");
  }
  group_dicts_ = std::move(dicts);
  return true;
}

void TensorPlan::take_rates() {
  static const std::string lr = "lr";
  for (std::size_t k = 0; k < group_dicts_.size(); ++k)
    plan_->groups[k].lr = rate_of(group_dicts_[k].free_value(), {step_label_, "param_groups", std::ptrdiff_t(k), lr});
}

/// False if a parameter that has a gradient lacks its state.
bool TensorPlan::take_gradients() {
  bool ready = true;
  for (std::size_t k = 0; k < params_.size(); ++k) {
    py::object gradient = grad_of(params_[k].source);
    const bool active = plan_->tensors[k].active = !gradient.is_none();
    if (!active) continue;
    gradients_[k] = std::move(gradient);
    take_gradient(k, gradients_[k]);
    ready = ready && params_[k].ready;
  }
  return ready;
}

void TensorPlan::take_gradient(std::size_t k, py::handle object) {
  Parameter& p = params_[k];
  dlpack::Tensor g;
  if (describe_(object.ptr(), &g) != 0 || g.device.type != dlpack::cpu || dtype_of(g) != p.target.dtype() ||
      !p.target.same_shape(view_of(g)) || (!g.data && p.target.view().size() > 0)) {
    PyErr_Clear();
    refuse_gradient(gradient_at(k), p.target, object);
  }
  const View view = view_of(g);
  if (reinterpret_cast<std::uintptr_t>(g.data) % std::uintptr_t(view.item_size) != 0)
    refuse_value(gradient_at(k), "aligned to its item", "a misaligned " + describe_tensor(object));
  Gradient& layout = plan_->tensors[k].gradient;
  if (p.target.same_strides(g) && g.ndim > 0) {
    layout.data = view.data;
    layout.contiguous = true;
  } else {
    // A view that stands for its negative looks like any other; torch makes none that is dense but of scalars.
    if (object.attr("is_neg")().cast<bool>())
      refuse_value(gradient_at(k), "a tensor of plain numbers (see torch.Tensor.resolve_neg)", "a negative view");
    describe_layout(view, p.order, layout);
  }
  if (g.data == p.gradient && layout.contiguous) return;
  check_against_owned(k, view);
  p.gradient = g.data;
}

void TensorPlan::check_against_owned(std::size_t k, const View& gradient) const {
  const Extent e = extent(gradient);
  const auto o = std::upper_bound(owned_.begin(), owned_.end(), e.low,
                                  [](const char* low, const Owned& owned) { return low < owned.extent.high; });
  if (o != owned_.end() && o->extent.low < e.high && e.low != e.high)
    refuse_value(gradient_at(k), "memory of its own", "memory shared with " + o->what);
}

/// Gradients that are zeroed have no element twice and are not somebody else's to read.
void TensorPlan::check_zeroable() const {
  std::vector<std::pair<Extent, std::size_t>> extents;
  for (std::size_t k = 0; k < params_.size(); ++k) {
    if (!plan_->tensors[k].active) continue;
    dlpack::Tensor g;
    if (describe_(gradients_[k].ptr(), &g) != 0) throw py::error_already_set();
    if (!is_disjoint(view_of(g)))
      refuse_value(gradient_at(k), "without repeated elements, to be zeroed",
                   describe_tensor(gradients_[k]) + " with strides " +
                       py::str(gradients_[k].attr("stride")()).cast<std::string>());
    if (const Extent e = extent(view_of(g)); e.low != e.high) extents.emplace_back(e, k);
  }
  std::sort(extents.begin(), extents.end(), [](const auto& a, const auto& b) { return a.first.low < b.first.low; });
  for (std::size_t i = 1; i < extents.size(); ++i)
    if (extents[i].first.low < extents[i - 1].first.high) {
      const auto [a, b] = std::minmax(extents[i - 1].second, extents[i].second);
      refuse_value(gradient_at(b), "memory of its own, to be zeroed",
                   "memory shared with grads[" + std::to_string(a) + "]");
    }
}

/// A counter that was written by others holds from here on.
void TensorPlan::take_counts() {
  for (std::size_t k = 0; k < params_.size(); ++k) {
    Tensor& t = plan_->tensors[k];
    if (!t.active || !params_[k].count) continue;
    const double count = read_count(params_[k].count);
    if (count == as_count(params_[k].count, t.steps)) continue;
    if (!(count >= 0 && count < 9e15))
      refuse_value({step_label_, "step", std::ptrdiff_t(k), names_[k]}, "a count of steps", std::to_string(count));
    t.steps = std::int64_t(count);
  }
}

void TensorPlan::write_counts() {
  for (std::size_t k = 0; k < params_.size(); ++k)
    if (plan_->tensors[k].active && params_[k].count) write_count(params_[k].count, plan_->tensors[k].steps);
}

/// What a graph has saved and a step has changed must not be used in a backward pass: torch finds out by versions.
void TensorPlan::tell_autograd(bool gradients_too) const {
  py::list written;
  for (std::size_t k = 0; k < params_.size(); ++k) {
    if (!plan_->tensors[k].active) continue;
    written.append(params_[k].target.tensor());
    if (gradients_too) written.append(gradients_[k]);
  }
  increment_version_(written);
}

TensorPlan::Outcome TensorPlan::step(std::optional<double> clip_norm, double grad_scale, bool zero_gradients,
                                     int threads) {
  if (clip_norm && !(*clip_norm >= 0))
    throw py::value_error(step_label_ + ": clip_norm must be at least 0; got " + std::to_string(*clip_norm));
  if (!(grad_scale > 0 && std::isfinite(grad_scale)))
    throw py::value_error(step_label_ + ": grad_scale must be finite and above 0; got " + std::to_string(grad_scale));
  if (busy_.exchange(true))
    throw std::runtime_error(step_label_ + ": one thread at a time may step an optimizer; another one is doing so");
  const AtExit end{[this] {
    for (py::object& gradient : gradients_) gradient = {};
    busy_ = false;
  }};
  if (!unchanged()) return stale;
  take_rates();
  const bool ready = take_gradients();
  if (zero_gradients) check_zeroable();
  if (!ready) return needs_state;
  take_counts();
  StepOptions options;
  if (clip_norm) options.clip_norm = *clip_norm;
  options.grad_scale = grad_scale;
  options.zero_gradients = zero_gradients;
  const int available = available_threads(threads);
  {
    const WithoutGil without_gil;
    info_ = plan_->step(options, available);
  }
  write_counts();
  tell_autograd(zero_gradients);
  return done;
}

int TensorPlan::traverse(visitproc visit, void* arg) const {
  const auto all = [&](const auto& list) {
    for (const auto& one : list)
      if (const int stop = one.traverse(visit, arg)) return stop;
    return 0;
  };
  Py_VISIT(increment_version_.ptr());
  Py_VISIT(groups_.ptr());
  Py_VISIT(state_.ptr());
  for (const py::object& p : idle_) Py_VISIT(p.ptr());
  for (const py::object& g : gradients_) Py_VISIT(g.ptr());
  for (const Parameter& p : params_) {
    Py_VISIT(p.source.ptr());
    for (const WatchedTensor* t : {&p.target, &p.average, &p.count}) Py_VISIT(t->tensor().ptr());
    for (const WatchedTensor& t : p.states) Py_VISIT(t.tensor().ptr());
  }
  if (const int stop = watched_groups_.traverse(visit, arg)) return stop;
  if (const int stop = watched_state_.traverse(visit, arg)) return stop;
  if (const int stop = all(group_dicts_)) return stop;
  if (const int stop = all(members_)) return stop;
  return all(entries_);
}

namespace {

void collect_garbage(PyHeapTypeObject* type) {
  type->ht_type.tp_flags |= Py_TPFLAGS_HAVE_GC;
  type->ht_type.tp_traverse = [](PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    return py::detail::is_holder_constructed(self) ? py::cast<TensorPlan&>(py::handle(self)).traverse(visit, arg) : 0;
  };
}

}  // namespace

void bind_tensors(py::module_& m) {
  py::class_<TensorPlan> plan(m, "TensorPlan", "The tensors, groups and kernels of one torch optimizer.",
                              py::custom_type_setup(collect_garbage));
  plan.def(py::init<std::string, const std::string&, const py::object&, py::object, py::list, py::dict, const py::list&,
                    const py::list&, const py::list&, std::vector<std::string>, const std::vector<int>&, double>(),
           py::arg("label"), py::arg("rule"), py::arg("tensor_type"), py::arg("increment_version"), py::arg("groups"),
           py::arg("state"), py::arg("params"), py::arg("targets"), py::arg("idle"), py::arg("names"),
           py::arg("group_of"), py::arg("ema_decay"))
      .def("set_group", &TensorPlan::set_group, py::arg("group"), py::arg("variant"), py::arg("hyper"),
           py::arg("weight_decay"), py::arg("l1"), py::arg("decay"), py::arg("maximize"))
      .def("attach", &TensorPlan::attach, py::arg("param"), py::arg("states"), py::arg("count"), py::arg("steps"),
           py::arg("average"))
      .def("watch", &TensorPlan::watch)
      .def("watch_options", &TensorPlan::watch_options)
      .def(
          "step",
          [](TensorPlan& p, std::optional<double> clip_norm, double grad_scale, bool zero_grads,
             std::optional<int> num_threads) {
            return int(p.step(clip_norm, grad_scale, zero_grads, num_threads.value_or(0)));
          },
          py::arg("clip_norm"), py::arg("grad_scale"), py::arg("zero_grads"), py::arg("num_threads"))
      .def_property_readonly("info", [](const TensorPlan& self) { return to_python(self.info()); });
  m.def(
      "check_tensors",
      [](const std::string& label, const py::object& tensor_type, const py::list& params,
         const std::vector<std::string>& names) {
        const dlpack::Describe describe = require_describe(tensor_type, label);
        std::vector<bool> dense;
        for (std::size_t k = 0; k < params.size(); ++k) {
          const Where where{label, "params", std::ptrdiff_t(k), names.at(k)};
          const View view = view_of(require_tensor(params[k], describe, where));
          if (!is_disjoint(view))
            refuse_value(where, "without repeated elements",
                         describe_tensor(params[k]) + " with strides " +
                             py::str(params[k].attr("stride")()).cast<std::string>());
          dense.push_back(is_dense(view, memory_order(view)));
        }
        return dense;
      },
      py::arg("label"), py::arg("tensor_type"), py::arg("params"), py::arg("names"),
      "Raises unless every tensor can be updated; tells which can be updated in place.");
  m.def(
      "drop_gradients",
      [](const py::list& params) {
        static PyObject* const name = PyUnicode_InternFromString("grad");
        for (const py::handle p : params)
          if (PyObject_SetAttr(p.ptr(), name, Py_None) != 0) throw py::error_already_set();
      },
      py::arg("params"), "Sets every tensor's grad to None.");
}

}  // namespace fusedstep::bind
