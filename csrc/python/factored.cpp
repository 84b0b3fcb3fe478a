#include "step/factored.h"

#include "python/bindings.h"
#include "python/call.h"
#include "python/gil.h"

namespace fusedstep::bind {
namespace {

Matrices matrices(const Call& call, const py::array& x) {
  if (x.ndim() != 3) refuse_value(call.where("x"), "of 3 axes", describe(x));
  return {x.shape(0), x.shape(1), x.shape(2)};
}

py::object squares(py::handle x_, bool columns) {
  const Call call("squares_of_rows_and_columns");
  const py::array x = call.c_array(x_, "x");
  const Matrices m = matrices(call, x);
  py::array_t<double> of_rows({m.count, m.rows});
  py::object of_columns = py::none();
  if (columns) of_columns = py::array_t<double>({m.count, m.columns});
  double* const written = columns ? py::array_t<double>(of_columns).mutable_data() : nullptr;
  double* const rows = of_rows.mutable_data();
  {
    const WithoutGil without_gil;
    squares_of_rows_and_columns(static_cast<const char*>(x.data()), m, dtype_of(x), rows, written);
  }
  return py::make_tuple(of_rows, of_columns);
}

void divide(py::handle x_, py::handle row_, py::handle column_, double floor, py::handle out_) {
  const Call call("divide_by_factors");
  const py::array x = call.c_array(x_, "x"), out = call.like(out_, "out", x, "x");
  const Matrices m = matrices(call, x);
  const py::array row = call.per_channel(row_, "row", x, m.count * m.rows);
  const py::array column = call.per_channel(column_, "column", x, m.count * m.columns);
  call.writeable(out, "out");
  for (const py::array& other : {x, row, column}) call.disjoint(out, "out", other, "what is read");
  if (!row.ptr() || !column.ptr()) refuse_type(call.where("row and column"), "arrays", "None");
  const auto data = [](const py::array& a) { return static_cast<const char*>(a.data()); };
  const WithoutGil without_gil;
  divide_by_factors(data(x), data(row), data(column), m, dtype_of(x), floor, static_cast<char*>(written_or_null(out)));
}

}  // namespace

void bind_factored(py::module_& m) {
  m.def("squares_of_rows_and_columns", squares, py::arg("x"), py::arg("columns"),
        "Of the rows and, if asked, of the columns of each matrix, in float64.");
  m.def("divide_by_factors", divide, py::arg("x"), py::arg("row"), py::arg("column"), py::arg("floor"), py::arg("out"),
        "out = x / sqrt(max(row * column, floor)) for each matrix.");
}

}  // namespace fusedstep::bind
