#include "python/watched.h"

#include <algorithm>

namespace fusedstep::bind {

WatchedDict::WatchedDict(const py::dict& dict, const char* free_key) : dict_(dict) {
  for (const auto& [key, value] : dict) {
    if (free_key && PyUnicode_Check(key.ptr()) && PyUnicode_CompareWithASCIIString(key.ptr(), free_key) == 0)
      free_ = items_.size();
    items_.emplace_back(py::reinterpret_borrow<py::object>(key), py::reinterpret_borrow<py::object>(value));
  }
}

bool WatchedDict::unchanged() const {
  if (!dict_ || PyDict_Size(dict_.ptr()) != Py_ssize_t(items_.size())) return false;
  PyObject *key = nullptr, *value = nullptr;
  Py_ssize_t at = 0;
  for (std::size_t k = 0; PyDict_Next(dict_.ptr(), &at, &key, &value); ++k) {
    if (k >= items_.size() || key != items_[k].first.ptr()) return false;
    if (k != free_ && value != items_[k].second.ptr()) return false;
  }
  return true;
}

py::object WatchedDict::value(PyObject* key) const {
  return py::reinterpret_borrow<py::object>(PyDict_GetItem(dict_.ptr(), key));
}

int WatchedDict::traverse(visitproc visit, void* arg) const {
  Py_VISIT(dict_.ptr());
  for (const auto& [key, value] : items_) {
    Py_VISIT(key.ptr());
    Py_VISIT(value.ptr());
  }
  return 0;
}

WatchedList::WatchedList(const py::list& list, const py::list& members) : list_(list) {
  for (const py::handle member : members) members_.push_back(py::reinterpret_borrow<py::object>(member));
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

}  // namespace fusedstep::bind
