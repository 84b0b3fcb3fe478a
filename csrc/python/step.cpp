// The function that takes a step: it checks the arguments, calls the kernels and returns a StepInfo.
#include "python/step.h"

#include <algorithm>
#include <cmath>

#include "machine/parallel.h"
#include "python/gil.h"

namespace fusedstep::bind {

void PyPlan::require_free(const std::string& call) const {
  if (!reserved_by_.empty()) throw std::runtime_error(call + ": cannot be called inside " + reserved_by_ + "()");
}

namespace {
constexpr char one_thread[] = "one thread at a time may step an optimizer; another thread is stepping it";
}

/// Fetches and checks all inputs of a step. If the user's arrays have changed since the plan was made, returns false
/// for tensors and raises for NumPy arrays. Also returns false if a parameter with a gradient has no state. After this
/// function returns, no user code runs until the step is done.
bool PyPlan::take_inputs(py::handle gradients, py::handle rates, bool zero) {
  require_free(step_label_);
  source_->collect(gradients, rates, step_label_, inputs_);
  if (!inputs_.rates.empty() && inputs_.rates.size() != plan_->groups.size())
    throw py::value_error(step_label_ + ": rates must have one number for each group");
  if (source_->user_may_replace() && !(source_->unchanged() && parameters_unchanged())) return false;
  if (!source_->user_may_replace()) require_unchanged(step_label_, Snapshot::Use::write);
  if (!take_gradients(zero) || !take_rows()) return false;
  if (has_scalars_) take_scalars();
  return true;
}

void PyPlan::drop_inputs() {
  for (py::object& g : inputs_.gradients) g = {};
  for (const auto& [k, rows] : inputs_.rows) plan_->tensors[k].rows = nullptr;
  inputs_.rows.clear();
}

std::optional<StepInfo> PyPlan::step(py::handle gradients, py::handle rates, StepOptions options, int threads) {
  const Claim claim(*this, step_label_, one_thread);
  const AtExit end{[this] { drop_inputs(); }};
  if (!take_inputs(gradients, rates, options.zero_gradients)) return {};
  options.rates = inputs_.rates.empty() ? nullptr : inputs_.rates.data();
  const int available = plan_->useful_threads() > 1 ? available_threads(threads) : 1;
  StepInfo info;
  {
    const WithoutGil without_gil;
    info = plan_->step(options, available);
  }
  if (has_scalars_ && !info.skipped) write_scalars();
  tell_source(options.zero_gradients);
  return info;
}

std::optional<std::vector<PyPlan::Squares>> PyPlan::squares(py::handle gradients,
                                                            const std::vector<std::size_t>& classes, bool zero,
                                                            int threads) {
  const Claim claim(*this, step_label_, one_thread);
  const AtExit end{[this] { drop_inputs(); }};
  if (classes.size() != params_.size()) throw py::value_error("Plan: classes must have one number for each parameter");
  if (!take_inputs(gradients, py::none(), zero)) return {};
  const int available = plan_->useful_threads() > 1 ? available_threads(threads) : 1;
  std::vector<Squares> all(classes.empty() ? 0 : *std::max_element(classes.begin(), classes.end()) + 1);
  for (std::size_t of = 0; of < all.size(); ++of) {
    for (std::size_t k = 0; k < classes.size(); ++k)
      plan_->tensors[k].active = classes[k] == of && !inputs_.gradients[k].is_none();
    const WithoutGil without_gil;
    const auto [sum, lowered, raised, finite] = plan_->squares(available);
    all[of] = {sum, lowered, raised, finite};
  }
  for (std::size_t k = 0; k < classes.size(); ++k) plan_->tensors[k].active = !inputs_.gradients[k].is_none();
  return all;
}

namespace {

// The scalars of a rule are arrays of float32 or float64. So are the counts of steps that the user can read. From 2^24
// on, a float32 count is rounded. The plan's own counts are exact integers.
double read(const Snapshot& seen) {
  const View v = seen.view();
  return v.dtype == DType::f32 ? double(*reinterpret_cast<float*>(v.data)) : *reinterpret_cast<double*>(v.data);
}
void write(const Snapshot& seen, double value) {
  const View v = seen.view();
  if (v.dtype == DType::f32)
    *reinterpret_cast<float*>(v.data) = float(value);
  else
    *reinterpret_cast<double*>(v.data) = value;
}
double as_counted(const Snapshot& seen, std::int64_t steps) {
  return seen.view().dtype == DType::f32 ? double(float(steps)) : double(steps);
}

}  // namespace

/// If other code has written a count of steps, this step and later steps use the new count.
void PyPlan::take_scalars() {
  for (std::size_t k = 0; k < params_.size(); ++k) {
    Tensor& t = plan_->tensors[k];
    const State& of = states_[k];
    if (!t.active) continue;
    for (int s = 0; s < max_scalars && of.scalars[s]; ++s) t.scalars[s] = read(of.scalars[s].seen);
    if (!of.count) continue;
    const double count = read(of.count.seen);
    if (count == as_counted(of.count.seen, t.steps)) continue;
    if (!(count >= 0 && count < 9e15))
      refuse_value({step_label_, "step", std::ptrdiff_t(k), names_[k]}, "at least 0 and below 9e15",
                   std::to_string(count));
    t.steps = std::int64_t(count);
  }
}

void PyPlan::write_scalars() {
  for (std::size_t k = 0; k < params_.size(); ++k) {
    const Tensor& t = plan_->tensors[k];
    const State& of = states_[k];
    if (!t.active) continue;
    for (int s = 0; s < max_scalars && of.scalars[s]; ++s) write(of.scalars[s].seen, t.scalars[s]);
    if (of.count) write(of.count.seen, double(t.steps));
  }
}

/// Tells the source which arrays were written. torch then raises an error in a backward pass that needs the old values.
void PyPlan::tell_source(bool gradients_too) const {
  if (!source_->user_may_replace()) return;
  py::list written;
  for (std::size_t k = 0; k < params_.size(); ++k) {
    if (!plan_->tensors[k].active) continue;
    written.append(params_[k].array.object);
    if (gradients_too && !plan_->tensors[k].rows) written.append(inputs_.gradients[k]);
  }
  source_->wrote(written);
}

namespace {

double number(const PyPlan& plan, const char* name, PyObject* object) {
  const double value = PyFloat_AsDouble(object);
  if (value == -1.0 && PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw py::error_already_set();
    PyErr_Clear();
    refuse_type({plan.step_label(), name, -1, {}}, "a number", py::repr(object));
  }
  return value;
}

/// A number of at least 0, or -1 for None.
double bound(const PyPlan& plan, const char* name, PyObject* object) {
  if (object == Py_None) return -1;
  const double value = number(plan, name, object);
  if (!(value >= 0)) refuse_value({plan.step_label(), name, -1, {}}, "at least 0", py::repr(object));
  return value;
}

bool flag(const PyPlan& plan, const char* name, PyObject* object) {
  if (object != Py_True && object != Py_False)
    refuse_type({plan.step_label(), name, -1, {}}, "True or False", py::repr(object));
  return object == Py_True;
}

StepOptions options_of(const PyPlan& plan, PyObject* const* args) {
  StepOptions options;
  options.decay_scale = number(plan, "decay_scale", args[2]);
  options.clip_norm = bound(plan, "clip_norm", args[3]);
  options.clip_value = bound(plan, "clip_value", args[4]);
  options.grad_scale = number(plan, "grad_scale", args[5]);
  if (!(options.grad_scale > 0 && std::isfinite(options.grad_scale)))
    refuse_value({plan.step_label(), "grad_scale", -1, {}}, "finite and above 0", py::repr(args[5]));
  if (!(options.decay_scale >= 0 && std::isfinite(options.decay_scale)))
    refuse_value({plan.step_label(), "decay_scale", -1, {}}, "finite and at least 0", py::repr(args[2]));
  if (args[6] != Py_None) {
    options.grad_norm = number(plan, "grad_norm", args[6]);
    if (*options.grad_norm < 0) refuse_value({plan.step_label(), "grad_norm", -1, {}}, "at least 0", py::repr(args[6]));
  }
  options.skip_nonfinite = flag(plan, "skip_nonfinite", args[7]);
  options.zero_gradients = flag(plan, "zero_grads", args[8]);
  return options;
}

/// Plan.step in Python's own calling convention. pybind11 is not used here, because its dispatch would take a third of
/// the time of a small network's step.
PyObject* step(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  try {
    auto* const plan = reinterpret_cast<py::detail::instance*>(self)->get_value_and_holder().value_ptr<PyPlan>();
    if (!plan || count != 10) throw py::type_error("Plan.step: must be called on a plan with 10 arguments");
    const int threads = args[9] == Py_None ? 0 : int(PyLong_AsLong(args[9]));
    const auto info = plan->step(args[0], args[1], options_of(*plan, args), threads);
    return info ? to_python(*info).release().ptr() : Py_NewRef(Py_None);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const py::builtin_exception& error) {
    error.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

}  // namespace

void bind_step(py::handle plan_type) {
  static PyMethodDef method{"step", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(step)), METH_FASTCALL,
                            "step($self, grads, rates, decay_scale, clip_norm, clip_value, grad_scale, grad_norm, "
                            "skip_nonfinite, zero_grads, num_threads, /)\n--\n\n"};
  auto* const type = reinterpret_cast<PyTypeObject*>(plan_type.ptr());
  plan_type.attr("step") = py::reinterpret_steal<py::object>(PyDescr_NewMethod(type, &method));
}

}  // namespace fusedstep::bind
