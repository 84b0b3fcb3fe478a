// Gradients for some rows of a parameter, as Python objects.
#pragma once

#include <optional>
#include <vector>

#include "python/gate.h"
#include "step/rows.h"

namespace fusedstep::bind {

/// A RowGradient that keeps its array of values alive.
struct PyRows {
  PyRows(const py::array_t<std::int64_t, py::array::c_style>& index, py::array values, std::int64_t rows);
  double squared_norm() const;
  /// Returns the indices of the rows that have a gradient, in ascending order, and a matrix whose rows are the
  /// gradients.
  py::tuple coalesced() const;

  py::array values;
  std::int64_t of;  // number of rows of the parameter; every index is below it
  std::optional<RowGradient> gradient;
};

}  // namespace fusedstep::bind
