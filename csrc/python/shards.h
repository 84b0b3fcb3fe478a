// Tensors of which a process holds a part: DTensor of torch.distributed. A plan works on the parts.
#pragma once

#include <unordered_map>

#include "python/gate.h"

namespace fusedstep::bind {

class Shards {
 public:
  /// `type` is torch.distributed.tensor.DTensor; None where it is not imported, and no tensor can be one.
  explicit Shards(py::object type) : type_(type.is_none() ? py::object() : std::move(type)) {}

  /// What of an object lies in this process's memory: of a DTensor its local tensor, of any other the object itself.
  /// From here on `unchanged` watches it.
  py::object part(py::handle object);

  /// The part of a gradient; raises unless it is cut and placed as its parameter is.
  py::object part_of_gradient(const py::object& gradient, py::handle parameter, const Where& where) const;

  /// False if a DTensor has got another local tensor.
  bool unchanged() const;

  /// Adds the DTensors to a list of parts: torch counts the versions of both.
  void add_wholes(const py::list& parts) const;

  int traverse(visitproc visit, void* arg) const;

 private:
  bool is_whole(py::handle object) const;
  struct Pair {
    py::object whole, part;
  };
  py::object type_;
  std::unordered_map<PyObject*, Pair> pairs_;  // by part
};

}  // namespace fusedstep::bind
