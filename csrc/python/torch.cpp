// Fetches the gradients and learning rates of a step from torch's objects, and finds out whether the user has replaced
// these objects.
#include "python/torch.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <unordered_set>

namespace fusedstep::bind {
namespace {

/// The value of a number or of a tensor with one element.
double rate_of(const py::object& object, const Where& where) {
  if (!object) refuse_type(where, "a number", "a group without \"" + where.name + "\"");
  const double rate = PyFloat_AsDouble(object.ptr());
  if (rate == -1 && PyErr_Occurred()) {
    PyErr_Clear();
    refuse_type(where, "a number", py::repr(object));
  }
  if (!(rate >= 0 && std::isfinite(rate))) refuse_value(where, "finite and at least 0", py::repr(object));
  return rate;
}

template <class List>
bool all_unchanged(const List& list) {
  return std::all_of(list.begin(), list.end(), [](const auto& one) { return one.unchanged(); });
}

/// Reads one attribute of objects. The Python object for the attribute's name is created once.
struct Attribute {
  explicit Attribute(const char* text) : name(PyUnicode_InternFromString(text)) {}
  py::object of(py::handle object) const {
    PyObject* const value = PyObject_GetAttr(object.ptr(), name);
    if (!value) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(value);
  }
  PyObject* const name;
};

template <class T>
T require(const py::object& object, const std::string& what, const char* need) {
  if (!object || !py::isinstance<T>(object))
    throw py::type_error(what + " must be " + need + "; got " +
                         (object ? describe_tensor(object) : std::string("nothing")));
  return py::reinterpret_borrow<T>(object);
}

constexpr char groups_name[] = "param_groups", state_name[] = "state";

}  // namespace

TorchSource::TorchSource(const std::string& label, const py::object& tensor_type, py::object shard_type,
                         py::object increment_version, const py::dict& owner, const py::list& members,
                         const py::list& params, const py::list& idle, bool some)
    : describe_(dlpack::describe_of(tensor_type)),
      tensor_type_(tensor_type),
      is_neg_(tensor_type.attr("is_neg")),
      increment_version_(std::move(increment_version)),
      shards_(std::move(shard_type)),
      owner_(owner),
      described_(params.size()),
      storages_(1024) {
  static const Attribute groups(groups_name), state(state_name), of_group("params");
  if (!describe_) throw py::type_error(label + ": tensors must have DLPack's exchange interface, which torch 2.13 has");
  if (Py_IS_TYPE(is_neg_.ptr(), &PyMethodDescr_Type))
    if (const PyMethodDef* method = reinterpret_cast<PyMethodDescrObject*>(is_neg_.ptr())->d_method;
        method->ml_flags == METH_NOARGS)
      is_neg_function_ = method->ml_meth;
  groups_ = {require<py::list>(of_owner(groups.name), label + ": param_groups", "a list"), members};
  state_ = require<py::dict>(of_owner(state.name), label + ": state", "a dict");
  std::unordered_set<PyObject*> known, found;
  for (const py::handle p : params) params_.push_back(py::reinterpret_borrow<py::object>(p)), known.insert(p.ptr());
  for (const py::handle p : idle) idle_.push_back(py::reinterpret_borrow<py::object>(p)), known.insert(p.ptr());
  for (const py::handle group : members)
    require<py::dict>(py::reinterpret_borrow<py::object>(group), label + ": a group of param_groups", "a dict");
  watch_options();
  for (const WatchedDict& group : options_) {
    const auto list = require<py::list>(group.value(of_group.name), label + ": params of a group", "a list");
    members_.emplace_back(list, list);
    for (const py::object& p : members_.back().members()) found.insert(p.ptr());
  }
  has_others_ = !some && found != known;
}

/// The attribute `name` of the optimizer, or null if there is none.
py::object TorchSource::of_owner(PyObject* name) const {
  return py::reinterpret_borrow<py::object>(PyDict_GetItem(owner_.ptr(), name));
}

void TorchSource::watch_options() {
  options_.clear();
  for (const py::object& group : groups_.members())
    options_.emplace_back(py::reinterpret_borrow<py::dict>(group), "lr");
}

/// Returns an alias of the tensor. The alias keeps the memory alive if user code assigns to the tensor's `data` during
/// a step.
py::object TorchSource::keep(py::handle tensor, const View& view, const Where& where) const {
  dlpack::require_plain_numbers(tensor, where);
  require_storage(tensor, view, where);
  return tensor.attr("detach")();
}

void TorchSource::collect(py::handle given, py::handle, const std::string& call, Inputs& inputs) {
  static const Attribute grad("grad"), lr("lr");
  static const std::string lr_text = "lr", none;
  inputs.rates.clear();
  for (std::size_t k = 0; k < options_.size(); ++k)
    inputs.rates.push_back(
        rate_of(options_[k].value(lr.name), {call, "param_groups", std::ptrdiff_t(k), lr_text, true}));
  for (std::size_t k = 0; k < params_.size(); ++k) {
    py::object& gradient = inputs.gradients[k] = grad.of(params_[k]);
    if (!shards_.empty() && !gradient.is_none())
      gradient = shards_.part_of_gradient(gradient, params_[k], {call, "grads", std::ptrdiff_t(k), none});
  }
  if (!given.is_none()) take_given(py::cast<py::list>(given), inputs);
  idle_has_gradient_ = std::any_of(idle_.begin(), idle_.end(), [](py::handle p) { return !grad.of(p).is_none(); });
  asked_ = false;
  for (std::size_t k = 0; k < params_.size(); ++k) {
    described_[k].ndim = -1;
    if (!inputs.gradients[k].is_none()) check_gradient(k, inputs.gradients[k], call);
  }
}

/// given[k] is used instead of the gradient of parameter k. It is a RowGradient, a tensor, or None if the gradient
/// itself is used.
void TorchSource::take_given(const py::list& given, Inputs& inputs) const {
  for (std::size_t k = 0; k < params_.size() && k < given.size(); ++k) {
    const py::object one = given[k];
    if (one.is_none()) continue;
    const bool is_rows = py::isinstance<PyRows>(one);
    if (is_rows) inputs.rows.emplace_back(k, one);
    inputs.gradients[k] = is_rows ? py::none() : one;
  }
}

/// Returns torch's is_neg(tensor). Calls torch's C function directly, because a call through Python takes longer than
/// the function itself.
bool TorchSource::is_negative(py::handle tensor) const {
  PyObject* const negative =
      is_neg_function_ ? is_neg_function_(tensor.ptr(), nullptr) : PyObject_CallOneArg(is_neg_.ptr(), tensor.ptr());
  if (!negative) throw py::error_already_set();
  Py_DECREF(negative);
  return negative != Py_False;
}

/// Raises if the gradient is negated lazily, or if its storage is too small. DLPack's description of the tensor shows
/// neither. These two checks take as long as a step of a small tensor. So they are made only if the gradient has a new
/// address or more bytes. The check for lazy negation is also made if the gradient may be a part of a complex tensor.
void TorchSource::check_gradient(std::size_t k, const py::object& gradient, const std::string& call) {
  static const std::string none;
  const Where where{call, "grads", std::ptrdiff_t(k), none};
  View& v = described_[k];
  if (!look(gradient.ptr(), v)) return void(v.ndim = -1);
  const Extent e = extent(v);
  const std::ptrdiff_t bytes = e.high - e.low;
  const auto address = reinterpret_cast<std::uintptr_t>(v.data);
  Checked& known = storages_[(address >> 6 ^ address >> 16) % storages_.size()];
  const bool is_new = known.data != v.data || known.bytes < bytes;
  const bool may_be_part_of_complex = v.size() == 1 || bytes != v.size() * v.item_size;
  asked_ = asked_ || is_new || may_be_part_of_complex;
  if ((is_new || may_be_part_of_complex) && is_negative(gradient)) dlpack::require_plain_numbers(gradient, where);
  if (!is_new) return;
  const void* const data = v.data;
  require_storage(gradient, v, where);
  known = {data, bytes};
}

bool TorchSource::unchanged() const {
  static const Attribute groups(groups_name), state(state_name);
  return groups_.is(of_owner(groups.name)) && of_owner(state.name).is(state_) && !orphaned_ && !has_others_ &&
         !idle_has_gradient_ && shards_.unchanged() && groups_.unchanged() && entries_of_state_.unchanged() &&
         all_unchanged(options_) && all_unchanged(members_) && all_unchanged(entries_);
}

/// Between `rely_on` and this call, the user may have removed an attached dict from the optimizer's state. `orphaned_`
/// then becomes true.
void TorchSource::settle() {
  entries_of_state_ = WatchedDict(state_);
  std::unordered_set<PyObject*> held;
  for (const auto& [key, value] : entries_of_state_.items()) held.insert(value.ptr());
  orphaned_ =
      std::any_of(entries_.begin(), entries_.end(), [&](const WatchedDict& e) { return !held.count(e.dict()); });
}

bool TorchSource::follow_options() {
  static const Attribute params("params"), groups(groups_name), state(state_name);
  if (!groups_.is(of_owner(groups.name)) || !of_owner(state.name).is(state_) || !shards_.unchanged() ||
      !groups_.unchanged() || !entries_of_state_.unchanged() || !all_unchanged(members_) || !all_unchanged(entries_))
    return false;
  for (std::size_t k = 0; k < options_.size(); ++k)
    if (!members_[k].is(options_[k].value(params.name))) return false;
  watch_options();
  return true;
}

int TorchSource::traverse(visitproc visit, void* arg) const {
  const auto all = [&](const auto& list) {
    for (const auto& one : list)
      if (const int stop = one.traverse(visit, arg)) return stop;
    return 0;
  };
  Py_VISIT(tensor_type_.ptr());
  Py_VISIT(is_neg_.ptr());
  Py_VISIT(increment_version_.ptr());
  Py_VISIT(owner_.ptr());
  Py_VISIT(state_.ptr());
  for (const auto* list : {&params_, &idle_})
    for (const py::object& p : *list) Py_VISIT(p.ptr());
  for (const int stop : {shards_.traverse(visit, arg), groups_.traverse(visit, arg),
                         entries_of_state_.traverse(visit, arg), all(options_), all(members_), all(entries_)})
    if (stop) return stop;
  return 0;
}

namespace {

/// Converts pairs to Places. A pair is (number of the tensor, index of the block of 256 elements where this process's
/// part of the tensor begins).
std::vector<Place> places_of(const std::vector<std::pair<std::uint32_t, std::uint64_t>>& numbers) {
  std::vector<Place> places;
  for (const auto& [number, first_block] : numbers) places.push_back({number, first_block});
  return places;
}

}  // namespace

void bind_torch(py::module_& m) {
  m.def(
      "plan_of_tensors",
      [](std::string label, const std::string& rule, const py::object& tensor_type, py::object shard_type,
         py::object increment_version, const py::dict& owner, const py::list& members, const py::list& params,
         const py::list& idle, bool some, std::vector<std::string> names, const std::vector<int>& group_of,
         std::optional<double> ema_decay, bool master_weights, std::uint64_t seed,
         const std::vector<std::pair<std::uint32_t, std::uint64_t>>& numbers) {
        const std::size_t count = members.size();
        auto source = std::make_unique<TorchSource>(label, tensor_type, std::move(shard_type),
                                                    std::move(increment_version), owner, members, params, idle, some);
        return std::make_unique<PyPlan>(std::move(label), rule, std::move(source), params, std::move(names), group_of,
                                        count, Choices{ema_decay, master_weights, seed, places_of(numbers)});
      },
      py::arg("label"), py::arg("rule"), py::arg("tensor_type"), py::arg("shard_type"), py::arg("increment_version"),
      py::arg("owner"), py::arg("members"), py::arg("params"), py::arg("idle"), py::arg("some"), py::arg("names"),
      py::arg("group_of"), py::arg("ema_decay"), py::arg("master_weights") = false, py::arg("seed") = 0,
      py::arg("numbers") = std::vector<std::pair<std::uint32_t, std::uint64_t>>());
  m.def(
      "check_tensors",
      [](const std::string& label, const py::object& tensor_type, const py::list& params,
         const std::vector<std::string>& names) {
        const py::list none;
        py::dict owner;
        owner[groups_name] = none, owner[state_name] = py::dict();
        const TorchSource source(label, tensor_type, py::none(), py::none(), owner, none, none, none, true);
        for (std::size_t k = 0; k < params.size(); ++k) {
          const Where where{label, "params", std::ptrdiff_t(k), names.at(k)};
          View v;
          if (!source.look(params[k].ptr(), v) || !is_disjoint(v)) source.refuse(params[k], where);
          source.keep(params[k], v, where);
        }
      },
      py::arg("label"), py::arg("tensor_type"), py::arg("params"), py::arg("names"),
      "Raise an error if a tensor cannot be updated in place.");
  m.def(
      "drop_gradients",
      [](const py::list& params) {
        static const Attribute grad("grad");
        for (const py::handle p : params)
          if (PyObject_SetAttr(p.ptr(), grad.name, Py_None) != 0) throw py::error_already_set();
      },
      py::arg("params"), "Set the grad of every tensor to None.");
}

}  // namespace fusedstep::bind
