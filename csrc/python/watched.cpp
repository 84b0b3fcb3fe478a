#include "python/watched.h"

#include <algorithm>
#include <cstring>

namespace fusedstep::bind {

WatchedDict::WatchedDict(const py::dict& dict, const char* free_key) : dict_(dict) {
  for (const auto& [key, value] : dict) {
    if (free_key && py::isinstance<py::str>(key) && key.cast<std::string>() == free_key) free_ = items_.size();
    items_.emplace_back(py::reinterpret_borrow<py::object>(key), py::reinterpret_borrow<py::object>(value));
  }
}

bool WatchedDict::unchanged() const {
  if (!dict_ || PyDict_Size(dict_.ptr()) != Py_ssize_t(items_.size())) return false;
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  for (std::size_t k = 0; PyDict_Next(dict_.ptr(), &at, &key, &value); ++k) {
    if (k >= items_.size() || key != items_[k].first.ptr()) return false;
    if (k == free_)
      free_value_ = value;
    else if (value != items_[k].second.ptr())
      return false;
  }
  return true;
}

int WatchedDict::traverse(visitproc visit, void* arg) const {
  Py_VISIT(dict_.ptr());
  for (const auto& [key, value] : items_) {
    Py_VISIT(key.ptr());
    Py_VISIT(value.ptr());
  }
  return 0;
}

WatchedList::WatchedList(const py::list& list) : list_(list) {
  for (const py::handle member : list) members_.push_back(py::reinterpret_borrow<py::object>(member));
}

bool WatchedList::unchanged() const {
  if (!list_ || PyList_GET_SIZE(list_.ptr()) != Py_ssize_t(members_.size())) return false;
  for (std::size_t k = 0; k < members_.size(); ++k)
    if (PyList_GET_ITEM(list_.ptr(), Py_ssize_t(k)) != members_[k].ptr()) return false;
  return true;
}

int WatchedList::traverse(visitproc visit, void* arg) const {
  Py_VISIT(list_.ptr());
  for (const py::object& member : members_) Py_VISIT(member.ptr());
  return 0;
}

WatchedTensor::WatchedTensor(py::handle tensor, dlpack::Describe describe, const dlpack::Tensor& seen)
    : tensor_(py::reinterpret_borrow<py::object>(tensor)),
      describe_(describe),
      data_(seen.data),
      dtype_(*dtype_of(seen)),
      shape_(seen.shape, seen.shape + seen.ndim),
      strides_(seen.strides, seen.strides + seen.ndim) {}

bool WatchedTensor::same_shape(const View& other) const {
  return std::size_t(other.ndim) == shape_.size() && std::equal(shape_.begin(), shape_.end(), other.shape);
}

bool WatchedTensor::same_strides(const dlpack::Tensor& t) const {
  return std::equal(strides_.begin(), strides_.end(), t.strides);
}

bool WatchedTensor::unchanged() const {
  if (!describe_) return true;
  dlpack::Tensor now;
  if (describe_(tensor_.ptr(), &now) != 0) {
    PyErr_Clear();
    return false;
  }
  return now.data == data_ && now.device.type == dlpack::cpu && dtype_of(now) == dtype_ && same_shape(view_of(now)) &&
         same_strides(now);
}

View WatchedTensor::view() const {
  const auto size = std::ptrdiff_t(item_size(dtype_));
  return {static_cast<char*>(data_), size, int(shape_.size()), shape_.data(), strides_.data(), size};
}

View view_of(const dlpack::Tensor& t) {
  const std::ptrdiff_t size = t.dtype.bits / 8;
  return {static_cast<char*>(t.data), size, t.ndim, t.shape, t.strides, size};
}

dlpack::Describe require_describe(const py::object& tensor_type, const std::string& label) {
  const dlpack::Describe describe = dlpack::describe_of(tensor_type);
  if (!describe) throw py::type_error(label + ": tensors must offer DLPack's exchange interface, as torch 2.13's do");
  return describe;
}

std::optional<DType> dtype_of(const dlpack::Tensor& t) {
  if (t.dtype.lanes != 1) return {};
  if (t.dtype.code == dlpack::brain_float && t.dtype.bits == 16) return DType::bf16;
  if (t.dtype.code != dlpack::ieee_float) return {};
  if (t.dtype.bits == 16) return DType::f16;
  if (t.dtype.bits == 32) return DType::f32;
  if (t.dtype.bits == 64) return DType::f64;
  return {};
}

std::string describe_tensor(py::handle object) {
  if (!py::hasattr(object, "dtype") || !py::hasattr(object, "device") || !py::hasattr(object, "layout"))
    return py::str(py::type::handle_of(object).attr("__name__"));
  std::string text = py::str(object.attr("dtype"));
  text += " " + std::string(py::str(py::tuple(py::list(object.attr("shape")))));  // a plain one, not torch.Size
  const std::string device = py::str(object.attr("device")), layout = py::str(object.attr("layout"));
  if (device != "cpu") text += " on " + device;
  if (layout != "torch.strided") text += " with layout " + layout;
  return text;
}

dlpack::Tensor require_tensor(py::handle object, dlpack::Describe describe, const Where& where) {
  dlpack::Tensor t;
  const bool known = describe(object.ptr(), &t) == 0;
  if (!known) PyErr_Clear();
  // A tensor that is only traced has a size and no memory.
  if (!known || t.device.type != dlpack::cpu || (!t.data && view_of(t).size() > 0))
    refuse_type(where, "a dense tensor in the CPU's memory", describe_tensor(object));
  if (!dtype_of(t)) refuse_type(where, "float32, float64, bfloat16 or float16", describe_tensor(object));
  if (reinterpret_cast<std::uintptr_t>(t.data) % (t.dtype.bits / 8) != 0)
    refuse_value(where, "aligned to its item", "a misaligned " + describe_tensor(object));
  return t;
}

}  // namespace fusedstep::bind
