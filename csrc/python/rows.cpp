#include "python/rows.h"

#include <pybind11/stl.h>

#include <algorithm>

#include "machine/parallel.h"
#include "python/gil.h"
#include "python/plan.h"
#include "python/step.h"

namespace fusedstep::bind {

PyRows::PyRows(const py::array_t<std::int64_t, py::array::c_style>& index, py::array values_, std::int64_t rows)
    : values(std::move(values_)), of(rows) {
  if (!is_native_float(values) || !(values.flags() & py::array::c_style) || values.ndim() < 1 || index.ndim() != 1 ||
      values.shape(0) != index.size())
    throw py::value_error(
        "RowGradient: values must be contiguous, of float32 or float64, with one row for every index");
  // this is a copy, because other code may change the array
  const std::vector<std::int64_t> own(index.data(), index.data() + index.size());
  for (const std::int64_t i : own)
    if (i < 0 || i >= rows) throw py::index_error(std::to_string(i));
  const std::ptrdiff_t width = own.empty() ? 0 : values.size() / values.shape(0);
  gradient.emplace(own.data(), std::int64_t(own.size()), static_cast<const char*>(values.data()), dtype_of(values),
                   width);
}

double PyRows::squared_norm() const {
  const WithoutGil without_gil;
  return gradient->squared_norm(available_threads());
}

py::tuple PyRows::coalesced() const {
  py::array_t<std::int64_t> index(gradient->count());
  py::array summed(values.dtype(), std::vector<py::ssize_t>{gradient->count(), gradient->width()});
  std::int64_t* const rows = index.mutable_data();
  char* const written = static_cast<char*>(summed.mutable_data());
  {
    const WithoutGil without_gil;
    gradient->write(rows, written, available_threads());
  }
  return py::make_tuple(index, summed);
}

namespace {

bool has_narrow_states(const Tensor& t) {
  bool any = false;
  for (int s = 0; s < max_states; ++s) any = any || (t.states[s] && t.state_formats[s] != format_of(t.dtype));
  return any;
}

}  // namespace

void PyPlan::check_rows(std::size_t k, const PyRows& rows) const {
  const Tensor& t = plan_->tensors[k];
  if (averages_ || has_narrow_states(t) || t.dtype != rows.gradient->dtype() || !t.p.contiguous ||
      !std::is_sorted(layouts_[k].order.begin(), layouts_[k].order.end()))
    refuse_value(
        gradient_at(k),
        "an array. Rows and sparse tensors are allowed only if the parameter is in C order, the parameter, its "
        "states and the values of the rows have the same dtype, and ema_decay is None",
        "rows with the values " + describe(rows.values));
  if (rows.values.size() == 0) return;
  if (rows.of * rows.gradient->width() != t.size)
    refuse_value(gradient_at(k), "rows of a parameter of " + std::to_string(t.size) + " elements",
                 "rows of a parameter of " + std::to_string(rows.of * rows.gradient->width()) + " elements");
  if (rows.values.data() != rows.gradient->values())
    refuse_value(gradient_at(k), "rows whose array of values stays at the same place in memory during the step",
                 "rows whose array of values has moved in memory");
  check_against_owned(k, view_of(rows.values));
}

/// Returns false if a parameter has gradients for rows but no state.
bool PyPlan::take_rows() {
  for (const auto& [k, object] : inputs_.rows) {
    if (!params_[k].ready) return false;
    check_rows(k, py::cast<const PyRows&>(object));
  }
  for (const auto& [k, object] : inputs_.rows) {
    plan_->tensors[k].rows = &*py::cast<const PyRows&>(object).gradient;
    plan_->tensors[k].active = true;
  }
  return true;
}

void bind_rows(py::module_& m) {
  py::class_<PyRows>(
      m, "RowGradient",
      "Gradients for some rows of a parameter, as an argument of `Plan.step`. The rows are sorted, and gradients of "
      "the same row are added up.")
      .def(py::init<const py::array_t<std::int64_t, py::array::c_style>&, py::array, std::int64_t>(), py::arg("index"),
           py::arg("values"), py::arg("rows"))
      .def("squared_norm", &PyRows::squared_norm)
      .def("coalesced", &PyRows::coalesced);
}

}  // namespace fusedstep::bind
