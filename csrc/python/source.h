// The interface to the library whose arrays a plan uses. A source gives views of arrays, gradients and learning rates,
// writes error messages in the words of its library, and tells the library which arrays a step has written. There are
// two sources: NumPy and torch.
#pragma once

#include <algorithm>
#include <memory>

#include "python/gate.h"

namespace fusedstep::bind {

/// The arguments of a step, kept alive until its end.
struct Inputs {
  std::vector<py::object> gradients;                     // of every parameter; None: the parameter is not stepped
  std::vector<double> rates;                             // of every group; empty: each group's lr
  std::vector<std::pair<std::size_t, py::object>> rows;  // RowGradient of a parameter, whose entry in gradients is None
};

/// An array that a plan uses, and the object that keeps its memory alive.
struct Held {
  py::object object, memory;
  Snapshot seen;
  explicit operator bool() const { return bool(object); }
  void* data() const { return object ? seen.view().data : nullptr; }
};

/// What every step reads for each parameter. It is small, because reading hundreds of them is limited by memory.
struct Parameter {
  Held array;
  Snapshot gradient;      // checked, laid out and disjoint from all that is written; empty: must be checked
  bool can_zero = false;  // the gradient is writeable and has no repeated elements
  bool ready = false;     // its state is attached
};

class Source {
 public:
  virtual ~Source() = default;

  /// Describes the memory of an object; returns false if kernels cannot use it. Runs no user code.
  virtual bool look(PyObject* object, View& view) const = 0;

  /// The same, but also accepts the integers of narrow states.
  virtual bool look_at_stored(PyObject* object, View& view) const = 0;

  enum class Look { same, other, unusable };
  /// Compares gradient k with the snapshot. If it is `other`, `view` describes it. It is `unusable` if kernels cannot
  /// use it, or if it differs from what `collect` has checked.
  virtual Look look_at_gradient(std::size_t k, PyObject* object, const Snapshot& seen, View& view) const = 0;

  /// The first parameter from k on whose array differs from its snapshot; the number of parameters if there is none.
  virtual std::size_t first_changed(std::size_t k, const std::vector<Parameter>& params, Snapshot::Use use) const = 0;
  /// True if the memory of all arrays is still as in their snapshots.
  virtual bool all_still(const std::vector<const Held*>& arrays, Snapshot::Use use) const = 0;
  /// The first parameter from k on whose gradient differs from its snapshot; the number of parameters if there is none.
  virtual std::size_t first_other(std::size_t k, const std::vector<Parameter>& params,
                                  const std::vector<py::object>& gradients) const = 0;
  /// The part of an object that lies in this process's memory and is stepped: nearly always the object itself.
  virtual py::object part(py::handle object) { return py::reinterpret_borrow<py::object>(object); }

  /// Keeps the memory of an array alive, and checks that it is as large as the view says.
  virtual py::object keep(py::handle object, const View&, const Where&) const {
    return py::reinterpret_borrow<py::object>(object);
  }

  /// Raises the error of a parameter or state that cannot be updated in place.
  [[noreturn]] virtual void refuse(py::handle object, const Where& where) const = 0;

  /// Raises the error of a gradient that does not fit its parameter.
  [[noreturn]] virtual void refuse_gradient(py::handle object, py::handle parameter, const Where& where) const = 0;

  /// The text for an object in errors: "float32 (3, 4)".
  virtual std::string describe(py::handle object) const = 0;

  /// True if the user may replace states and parameters at any time, and a parameter may have gaps.
  virtual bool user_may_replace() const = 0;

  /// Fetches the gradients and learning rates of a step; for tensors, what is given in place of gradients. May run
  /// user code, which may change anything.
  virtual void collect(py::handle gradients, py::handle rates, const std::string& call, Inputs& inputs) = 0;

  /// False if the user has replaced groups or states that the plan was made from.
  virtual bool unchanged() const { return true; }

  /// Adds a state's dict to what `unchanged` compares, as it is now.
  virtual void rely_on(const py::dict&) {}

  /// Adds what contains these dicts to what `unchanged` compares.
  virtual void settle() {}

  /// Accepts the current options of the groups as unchanged. Returns false if more than options has changed.
  virtual bool follow_options() { return true; }

  /// Tells the library which arrays a step has written.
  virtual void wrote(const py::list&) const {}

  virtual int traverse(visitproc, void*) const { return 0; }
};

/// The loops of a source. They are compiled with the source's own check inlined, because each step checks hundreds
/// of arrays.
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
