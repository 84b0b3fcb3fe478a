// The user's dicts and lists, on which a plan relies. Before each use they are compared with what was seen before. They
// keep alive what was seen, and report it to the garbage collector, because a tensor's hooks may refer to the plan.
#pragma once

#include <utility>
#include <vector>

#include <pybind11/pybind11.h>

namespace fusedstep::bind {

namespace py = pybind11;

/// A dict, and the keys and values that it had, compared by identity.
class WatchedDict {
 public:
  WatchedDict() = default;
  /// The value of `free_key` may change.
  explicit WatchedDict(const py::dict& dict, const char* free_key = nullptr);

  bool unchanged() const;
  PyObject* dict() const { return dict_.ptr(); }
  const std::vector<std::pair<py::object, py::object>>& items() const { return items_; }
  /// The current value of a key; null if there is none.
  py::object value(PyObject* key) const;
  int traverse(visitproc visit, void* arg) const;

 private:
  py::object dict_;
  std::vector<std::pair<py::object, py::object>> items_;  // kept alive, so that no other object gets the same address
  std::size_t free_ = std::size_t(-1);
};

/// A list, and the members that it had, compared by identity.
class WatchedList {
 public:
  WatchedList() = default;
  /// A list that must have these members.
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
