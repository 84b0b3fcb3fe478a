// Where the arrays of a plan come from. A source yields views, gradients and learning rates, says what is wrong in the
// words of its library, and tells the library what a step has written. NumPy and torch are the two.
#pragma once

#include <memory>

#include "python/gate.h"

namespace fusedstep::bind {

/// What a step is given; kept alive until its end.
struct Inputs {
  std::vector<py::object> gradients;                     // of every parameter; None: it is left alone
  std::vector<double> rates;                             // of every group; empty: the groups' own
  std::vector<std::pair<std::size_t, py::object>> rows;  // in the place of gradients, which are None: RowGradient
};

/// An array that a plan relies on, and what keeps its memory alive.
struct Held {
  py::object object, memory;
  Snapshot seen;
  explicit operator bool() const { return bool(object); }
  void* data() const { return object ? seen.view().data : nullptr; }
};

/// What every step looks at: kept short, for looking at hundreds is waiting for memory.
struct Parameter {
  Held array;
  Snapshot gradient;      // checked, laid out, and apart from all that is written; empty: it is to be looked at again
  bool can_zero = false;  // the gradient: writeable, no element twice
  bool ready = false;     // its state is attached
};

class Source {
 public:
  virtual ~Source() = default;

  /// Describes an object as it lies in memory; false if kernels cannot use it. Runs no code of the user.
  virtual bool look(PyObject* object, View& view) const = 0;

  /// The same, also of the integers that narrow states are kept in.
  virtual bool look_at_stored(PyObject* object, View& view) const = 0;

  /// True if an object is as it was seen.
  virtual bool is_still(PyObject* object, const Snapshot& seen, Snapshot::Use use) const = 0;

  enum class Look { same, other, unusable };
  /// Compares gradient k with what was seen. `view` describes one that is other; one that kernels cannot use, or that
  /// `collect` has not seen like this, is unusable.
  virtual Look look_at_gradient(std::size_t k, PyObject* object, const Snapshot& seen, View& view) const = 0;

  /// From parameter k on, the first whose array is not as it was seen; their number if all are.
  virtual std::size_t first_changed(std::size_t k, const std::vector<Parameter>& params, Snapshot::Use use) const = 0;
  /// From parameter k on, the first whose gradient is not the same as was seen; their number if all are.
  virtual std::size_t first_other(std::size_t k, const std::vector<Parameter>& params,
                                  const std::vector<py::object>& gradients) const = 0;
  /// What of an object lies in this process's memory and is stepped: mostly all of it, the object itself.
  virtual py::object part(py::handle object) { return py::reinterpret_borrow<py::object>(object); }

  /// Keeps the memory behind an array of the plan alive, after a check that there is as much as the view claims.
  virtual py::object keep(py::handle object, const View&, const Where&) const {
    return py::reinterpret_borrow<py::object>(object);
  }

  /// Raises the error for a parameter or a state that cannot be updated in place.
  [[noreturn]] virtual void refuse(py::handle object, const Where& where) const = 0;

  /// Raises the error for a gradient that does not suit its parameter.
  [[noreturn]] virtual void refuse_gradient(py::handle object, py::handle parameter, const Where& where) const = 0;

  /// How errors call an object: "float32 (3, 4)".
  virtual std::string describe(py::handle object) const = 0;

  /// True if the user may exchange states and parameters, and a parameter may have gaps between its elements.
  virtual bool lends() const = 0;

  /// Fetches the gradients and learning rates of a step; for tensors, what is given in the place of gradients. May run
  /// code of the user, which may change anything.
  virtual void collect(py::handle gradients, py::handle rates, const std::string& call, Inputs& inputs) = 0;

  /// False if the groups and states that the plan was made from are no longer the user's.
  virtual bool unchanged() const { return true; }

  /// From here on relies on a state's dict as it is.
  virtual void rely_on(const py::dict&) {}

  /// From here on relies on what holds these dicts.
  virtual void settle() {}

  /// Relies on the options of the groups as they are now; false if more than options has changed.
  virtual bool follow_options() { return true; }

  /// Tells the library what a step has written.
  virtual void wrote(const py::list&) const {}

  virtual int traverse(visitproc, void*) const { return 0; }
};

/// The two loops of a source, compiled with its own look at an array: hundreds are looked at in each step.
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
