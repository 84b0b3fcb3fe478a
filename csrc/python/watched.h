// What a plan relies on but does not own: the user's dicts and lists, compared with what was seen before each use.
// They keep alive what they saw, and tell the garbage collector so: a tensor's hooks may lead back to the plan.
#pragma once

#include <utility>
#include <vector>

#include <pybind11/pybind11.h>

namespace fusedstep::bind {

namespace py = pybind11;

/// A dict and what it held, by identity of keys and values.
class WatchedDict {
 public:
  WatchedDict() = default;
  /// The value of `free_key` may change.
  explicit WatchedDict(const py::dict& dict, const char* free_key = nullptr);

  bool unchanged() const;
  PyObject* dict() const { return dict_.ptr(); }
  const std::vector<std::pair<py::object, py::object>>& items() const { return items_; }
  /// What a key holds now; null if nothing.
  py::object value(PyObject* key) const;
  int traverse(visitproc visit, void* arg) const;

 private:
  py::object dict_;
  std::vector<std::pair<py::object, py::object>> items_;  // kept alive: another may not come to lie at the same address
  std::size_t free_ = std::size_t(-1);
};

/// A list and its members, by identity.
class WatchedList {
 public:
  WatchedList() = default;
  /// A list that is to have these members.
  WatchedList(const py::list& list, const py::list& members);
  bool unchanged() const;
  bool is(py::handle list) const { return list_.is(list); }
  const std::vector<py::object>& members() const { return members_; }
  int traverse(visitproc visit, void* arg) const;

 private:
  py::object list_;
  std::vector<py::object> members_;
};

}  // namespace fusedstep::bind
