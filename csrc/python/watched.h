// Records of the user's dicts and lists. A plan (the prepared step of an optimizer) is made from these dicts and lists.
// Before each step, they are compared with the records. The records keep the recorded objects alive. They also report
// these objects to the garbage collector, because there may be a reference cycle: a hook of a recorded tensor may refer
// to the plan, which owns the records.
#pragma once

#include <utility>
#include <vector>

#include <pybind11/pybind11.h>

namespace fusedstep::bind {

namespace py = pybind11;

/// A dict, and a record of its keys and values. The keys and values are compared by identity.
class WatchedDict {
 public:
  WatchedDict() = default;
  /// The value of the key `free_key` is not compared.
  explicit WatchedDict(const py::dict& dict, const char* free_key = nullptr);

  bool unchanged() const;
  PyObject* dict() const { return dict_.ptr(); }
  const std::vector<std::pair<py::object, py::object>>& items() const { return items_; }
  /// The current value of a key, or null if the dict does not have the key.
  py::object value(PyObject* key) const;
  int traverse(visitproc visit, void* arg) const;

 private:
  py::object dict_;
  std::vector<std::pair<py::object, py::object>> items_;  // kept alive, so that no other object gets the same address
  std::size_t free_ = std::size_t(-1);
};

/// A list, and a record of its members. The members are compared by identity.
class WatchedList {
 public:
  WatchedList() = default;
  /// `members` is the record with which the list is compared.
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
