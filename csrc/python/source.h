// A source is the interface to the library whose arrays a plan uses. There are two sources, for NumPy and for torch. A
// source describes arrays, and fetches gradients and learning rates. Its errors use the names of the library's types.
// After a step, it reports to the library which arrays were written.
#pragma once

#include <algorithm>
#include <memory>

#include "python/gate.h"

namespace fusedstep::bind {

/// The arguments of a step, kept alive until its end.
struct Inputs {
  std::vector<py::object> gradients;  // one for each parameter; None: there is no gradient, or it is in `rows`
  std::vector<double> rates;          // learning rates, one for each group; empty: the lr of each group is used
  std::vector<std::pair<std::size_t, py::object>> rows;  // (k, RowGradient of parameter k)
};

/// An array that a plan uses, and the object that keeps its memory alive.
struct Held {
  py::object object, memory;
  Snapshot seen;
  explicit operator bool() const { return bool(object); }
  void* data() const { return object ? seen.view().data : nullptr; }
};

/// The data of a parameter that every step reads. The struct is small, because an optimizer may have hundreds of
/// parameters, and reading these structs is limited by memory.
struct Parameter {
  Held array;
  Snapshot gradient;      // the gradient that was checked in an earlier step; empty: the next gradient must be checked
  bool can_zero = false;  // the gradient is writeable and has no repeated elements
  bool ready = false;     // its state is attached
};

class Source {
 public:
  virtual ~Source() = default;

  /// Describes the memory of an object; returns false if kernels cannot use it. Runs no user code.
  virtual bool look(PyObject* object, View& view) const = 0;

  /// Like `look`, but also accepts uint8, int16 and int32, in which some states are stored.
  virtual bool look_at_stored(PyObject* object, View& view) const = 0;

  enum class Look { same, other, unusable };
  /// Compares gradient k with the snapshot. The result is `same` if they are equal. If it is `other`, `view` describes
  /// the gradient. It is `unusable` if kernels cannot use the gradient, or if the gradient has changed since `collect`.
  virtual Look look_at_gradient(std::size_t k, PyObject* object, const Snapshot& seen, View& view) const = 0;

  /// Searches from parameter k on. Returns the index of the first parameter whose array differs from its snapshot, or
  /// the number of parameters if there is none.
  virtual std::size_t first_changed(std::size_t k, const std::vector<Parameter>& params, Snapshot::Use use) const = 0;
  /// True if all arrays still have the memory that their snapshots describe.
  virtual bool all_still(const std::vector<const Held*>& arrays, Snapshot::Use use) const = 0;
  /// Searches from parameter k on. Returns the index of the first parameter whose gradient differs from its snapshot,
  /// or the number of parameters if there is none.
  virtual std::size_t first_other(std::size_t k, const std::vector<Parameter>& params,
                                  const std::vector<py::object>& gradients) const = 0;
  /// The part of an object that is in this process's memory and is updated. For all objects except DTensors, this is
  /// the object itself.
  virtual py::object part(py::handle object) { return py::reinterpret_borrow<py::object>(object); }

  /// Keeps the memory of an array alive, and checks that it is as large as the view says.
  virtual py::object keep(py::handle object, const View&, const Where&) const {
    return py::reinterpret_borrow<py::object>(object);
  }

  /// Raises the error of a parameter or state that cannot be updated in place.
  [[noreturn]] virtual void refuse(py::handle object, const Where& where) const = 0;

  /// Raises the error of a gradient that does not fit its parameter.
  [[noreturn]] virtual void refuse_gradient(py::handle object, py::handle parameter, const Where& where) const = 0;

  /// A description of an object for errors, for example "float32 (3, 4)".
  virtual std::string describe(py::handle object) const = 0;

  /// True for torch: the user may replace states and parameters at any time, and a parameter may have gaps. False for
  /// NumPy, where neither is allowed.
  virtual bool user_may_replace() const = 0;

  /// Fetches the gradients and the learning rates of a step into `inputs`. For NumPy, they are the arguments. For
  /// torch, they are read from the tensors and groups, and `gradients` is None or has objects that are used instead of
  /// some of the tensors' gradients. This function may run user code, which may change any array.
  virtual void collect(py::handle gradients, py::handle rates, const std::string& call, Inputs& inputs) = 0;

  /// Returns false if the user has replaced groups or states from which the plan was made.
  virtual bool unchanged() const { return true; }

  /// Records the dict of a state with its current items. `unchanged` compares the dict with this record.
  virtual void rely_on(const py::dict&) {}

  /// Records the dict that contains the states of all parameters. `unchanged` compares this dict with the record.
  virtual void settle() {}

  /// Called after the options of groups have changed. `unchanged` then compares with the current options. Returns false
  /// if anything other than options has changed, too.
  virtual bool follow_options() { return true; }

  /// Tells the library which arrays a step has written.
  virtual void wrote(const py::list&) const {}

  virtual int traverse(visitproc, void*) const { return 0; }
};

/// The loops over arrays for a source S. S's functions that check one array are inlined into these loops, because each
/// step checks hundreds of arrays.
template <class S>
class Loops : public Source {
 public:
  std::size_t first_changed(std::size_t k, const std::vector<Parameter>& params, Snapshot::Use use) const final {
    for (; k < params.size(); ++k) {
      if (k + ahead < params.size()) prefetch(params[k + ahead].array.object), params[k + ahead].array.seen.prefetch();
      if (!self().S::is_still(params[k].array.object.ptr(), params[k].array.seen, use)) break;
    }
    return k;
  }
  bool all_still(const std::vector<const Held*>& arrays, Snapshot::Use use) const final {
    return std::all_of(arrays.begin(), arrays.end(),
                       [&](const Held* one) { return self().S::is_still(one->object.ptr(), one->seen, use); });
  }
  std::size_t first_other(std::size_t k, const std::vector<Parameter>& params,
                          const std::vector<py::object>& gradients) const final {
    View v;
    for (; k < params.size(); ++k) {
      if (k + ahead < params.size()) prefetch(gradients[k + ahead]), params[k + ahead].gradient.prefetch();
      if (self().S::look_at_gradient(k, gradients[k].ptr(), params[k].gradient, v) != Look::same) break;
    }
    return k;
  }

 private:
  const S& self() const { return static_cast<const S&>(*this); }
};

void bind_numpy(py::module_& m);
void bind_torch(py::module_& m);

}  // namespace fusedstep::bind
