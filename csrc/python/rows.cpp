// Steps some rows of a parameter.
#include <pybind11/stl.h>

#include "machine/parallel.h"
#include "python/bindings.h"
#include "python/gil.h"
#include "python/plan.h"
#include "python/step.h"
#include "step/rows.h"

namespace fusedstep::bind {
namespace {

/// The rows that have a gradient. Keeps the array of values alive.
struct PyRows {
  PyRows(const py::array_t<std::int64_t, py::array::c_style>& index, py::array values_, std::int64_t rows)
      : values(std::move(values_)) {
    if (!is_native_float(values) || !(values.flags() & py::array::c_style) || values.ndim() < 1 || index.ndim() != 1 ||
        values.shape(0) != index.size())
      throw py::value_error("RowGradient: values must be contiguous, float32 or float64, a row for every index");
    // a copy, which no other code can change
    const std::vector<std::int64_t> own(index.data(), index.data() + index.size());
    for (const std::int64_t i : own)
      if (i < 0 || i >= rows) throw py::index_error(std::to_string(i));
    of = rows;
    const std::ptrdiff_t width = own.empty() ? 0 : values.size() / values.shape(0);
    gradient.emplace(own.data(), std::int64_t(own.size()), static_cast<const char*>(values.data()), dtype_of(values),
                     width);
  }
  double squared_norm() const {
    const WithoutGil without_gil;
    return gradient->squared_norm(available_threads());
  }

  py::array values;
  std::int64_t of = 0;  // number of rows of the parameter; every index is below it
  std::optional<RowGradient> gradient;
};

bool has_narrow_states(const Tensor& t) {
  bool any = false;
  for (int s = 0; s < max_states; ++s) any = any || (t.states[s] && t.state_formats[s] != format_of(t.dtype));
  return any;
}

}  // namespace

bool PyPlan::step_rows(std::size_t k, const RowGradient& rows, std::int64_t of, const View& values,
                       const std::vector<double>& rates, StepOptions options, double factor, int threads) {
  const Claim claim(*this, step_label_, "one thread at a time may step an optimizer; another one is doing so");
  require_free(step_label_);
  Tensor& t = plan_->tensors.at(k);
  const bool same = parameters_unchanged();
  if (source_->user_may_replace() && !same) return false;
  if (!same) require_unchanged(step_label_, Snapshot::Use::write);
  if (!params_[k].ready || averages_ || has_narrow_states(t) || t.dtype != rows.dtype() || !t.p.contiguous ||
      !std::is_sorted(layouts_[k].order.begin(), layouts_[k].order.end()) || rates.size() != plan_->groups.size())
    throw py::value_error(step_label_ +
                          ": rows need a parameter in C order, of the dtype of their values, no average, and states of "
                          "its dtype");
  if (values.size() > 0 && of * rows.width() != t.size)
    throw py::value_error(step_label_ + ": rows must be of a parameter of " + std::to_string(of * rows.width()) +
                          " elements; got one of " + std::to_string(t.size));
  if (values.size() > 0) check_against_owned(k, values);
  for (Parameter& p : params_) p.gradient = {};  // the next step checks all gradients again
  options.rates = rates.data();
  for (Tensor& other : plan_->tensors) other.active = false;
  t.active = true;
  if (has_scalars_) take_scalars();
  {
    const WithoutGil without_gil;
    plan_->step_rows(k, rows, options, factor, available_threads(threads));
  }
  if (has_scalars_) write_scalars();
  tell_source(false);
  return true;
}

namespace {

bool step_rows(PyPlan& plan, std::size_t k, const PyRows& rows, const std::vector<double>& rates, double factor,
               std::optional<double> clip_value, std::optional<int> threads) {
  StepOptions options;
  options.clip_value = clip_value.value_or(-1);
  return plan.step_rows(k, *rows.gradient, rows.of, view_of(rows.values), rates, options, factor, threads.value_or(0));
}

}  // namespace

void bind_rows(py::module_& m, py::handle plan_type) {
  py::class_<PyRows>(m, "RowGradient", "Rows of a parameter that have a gradient, sorted; of one row, added up.")
      .def(py::init<const py::array_t<std::int64_t, py::array::c_style>&, py::array, std::int64_t>(), py::arg("index"),
           py::arg("values"), py::arg("rows"))
      .def("squared_norm", &PyRows::squared_norm);
  plan_type.attr("step_rows") =
      py::cpp_function(step_rows, py::name("step_rows"), py::is_method(plan_type), py::arg("param"), py::arg("rows"),
                       py::arg("rates"), py::arg("factor"), py::arg("clip_value"), py::arg("num_threads"),
                       "Steps these rows alone; False if the optimizer is no longer what was bound.");
}

}  // namespace fusedstep::bind
