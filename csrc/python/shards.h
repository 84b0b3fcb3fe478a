// DTensors of torch.distributed. Each process has one part of a DTensor, and a plan updates the parts of its process.
#pragma once

#include <unordered_map>

#include "python/gate.h"

namespace fusedstep::bind {

class Shards {
 public:
  /// `type` is torch.distributed.tensor.DTensor. It is None if the module is not imported; no tensor can then be a
  /// DTensor.
  explicit Shards(py::object type) : type_(type.is_none() ? py::object() : std::move(type)) {}

  /// The part of an object that is in this process's memory. For a DTensor this is its local tensor, for another object
  /// the object itself. `unchanged` later checks whether the DTensor still has this local tensor.
  py::object part(py::handle object);

  /// True if no DTensor has been passed to `part`.
  bool empty() const { return pairs_.empty(); }

  /// This process's part of a gradient. Raises if the gradient does not have the placements and the device mesh of its
  /// parameter.
  py::object part_of_gradient(const py::object& gradient, py::handle parameter, const Where& where) const;

  /// False if a DTensor no longer has the local tensor that `part` returned for it.
  bool unchanged() const;

  /// Appends to a list of parts the DTensors of these parts, because torch has separate version counters for a DTensor
  /// and its part.
  void add_wholes(const py::list& parts) const;

  int traverse(visitproc visit, void* arg) const;

 private:
  bool is_whole(py::handle object) const;
  struct Pair {
    py::object whole, part;
  };
  py::object type_;
  std::unordered_map<PyObject*, Pair> pairs_;  // by the part's address
};

}  // namespace fusedstep::bind
