// DTensors of torch.distributed. A process holds one part of each, and a plan works on these parts.
#pragma once

#include <unordered_map>

#include "python/gate.h"

namespace fusedstep::bind {

class Shards {
 public:
  /// `type` is torch.distributed.tensor.DTensor, or None if that is not imported: then no tensor can be one.
  explicit Shards(py::object type) : type_(type.is_none() ? py::object() : std::move(type)) {}

  /// The part of an object that lies in this process's memory: the local tensor of a DTensor, and the object itself if
  /// it is no DTensor. From here on `unchanged` compares with it.
  py::object part(py::handle object);

  /// True if no DTensor has been passed to `part`.
  bool empty() const { return pairs_.empty(); }

  /// This process's part of a gradient. Raises unless the gradient is sharded and placed as its parameter is.
  py::object part_of_gradient(const py::object& gradient, py::handle parameter, const Where& where) const;

  /// False if a DTensor has another local tensor now.
  bool unchanged() const;

  /// Adds the DTensors to a list of their parts, because torch counts versions of both.
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
