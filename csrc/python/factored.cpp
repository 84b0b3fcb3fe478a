#include "step/factored.h"

#include <vector>

#include "python/bindings.h"
#include "python/call.h"
#include "python/gil.h"

namespace fusedstep::bind {
namespace {

Matrices stack_of(const Call& call, const py::array& x) {
  if (x.ndim() != 3) refuse_value(call.where("x"), "an array with 3 axes", describe(x));
  return {x.shape(0), x.shape(1), x.shape(2)};
}

/// Returns the object as an array. It must have `count` numbers, one for every row or every column of x.
py::array of_axis(const Call& call, py::handle object, const char* argument, const py::array& x, py::ssize_t count) {
  py::array a = call.c_array(object, argument);
  if (a.size() != count || dtype_of(a) != dtype_of(x))
    refuse_value(call.where(argument), std::to_string(count) + " numbers of x's dtype", describe(a));
  return a;
}

py::object row_squares(py::handle x_) {
  const Call call("squares_of_rows");
  const py::array x = call.c_array(x_, "x");
  const Matrices m = stack_of(call, x);
  py::array_t<double> of_rows({m.count, m.rows});
  double* const written = of_rows.mutable_data();
  {
    const WithoutGil without_gil;
    squares_of_rows(static_cast<const char*>(x.data()), m, dtype_of(x), written);
  }
  return of_rows;
}

py::tuple directions(py::handle x_, py::handle row_, py::handle column_, double weight, double eps) {
  const Call call("divide_by_factors");
  const py::array x = call.c_array(x_, "x");
  const Matrices m = stack_of(call, x);
  const py::array row = of_axis(call, row_, "row", x, m.count * m.rows);
  const py::array column = of_axis(call, column_, "column", x, m.count * m.columns);
  const auto like = [&](const py::array& a) {
    return py::array(x.dtype(), std::vector<py::ssize_t>(a.shape(), a.shape() + a.ndim()));
  };
  const auto data = [](const py::array& a) { return static_cast<const char*>(a.data()); };
  py::array next_row = like(row), next_column = like(column), y = like(x);
  const auto written = [](py::array& a) { return static_cast<char*>(a.mutable_data()); };
  const Factored f{data(row), data(column), written(next_row), written(next_column), weight, eps};
  char* const direction = written(y);
  {
    const WithoutGil without_gil;
    divide_by_factors(data(x), m, dtype_of(x), f, direction);
  }
  return py::make_tuple(next_row, next_column, y);
}

}  // namespace

void bind_factored(py::module_& m) {
  m.def("squares_of_rows", row_squares, py::arg("x"),
        "Return the sum of squares of each row of the matrices in x, in float64.");
  m.def("divide_by_factors", directions, py::arg("x"), py::arg("row"), py::arg("column"), py::arg("weight"),
        py::arg("eps"),
        "Add the mean squares of the rows and columns of each matrix in x to the running averages `row` and `column`, "
        "with the given weight. Return (row, column, x / sqrt(row * column / mean(row))), where row and column are the "
        "updated averages. eps is a lower bound of mean(row) and of the square root.");
}

}  // namespace fusedstep::bind
