#include "bind/products.h"

#include <algorithm>
#include <optional>

#include "bind/call.h"
#include "bind/gil.h"
#include "driver/blas.h"

namespace fusedstep::bind {
namespace {

bool has_stride(py::ssize_t count, py::ssize_t stride, py::ssize_t least, py::ssize_t item) {
  return count <= 1 || (stride >= least && stride % item == 0);
}

/// What BLAS can take as it lies; nothing for other strides.
std::optional<Matrix> matrix(const py::array& a) {
  const py::ssize_t item = a.itemsize(), rows = a.shape(0), columns = a.shape(1);
  const char* const data = static_cast<const char*>(a.data());
  const auto lies = [&](int outer, int inner) {
    return (a.shape(inner) <= 1 || a.strides(inner) == item) &&
           has_stride(a.shape(outer), a.strides(outer), a.shape(inner) * item, item);
  };
  const auto stride = [&](int outer, int inner) {
    return a.shape(outer) > 1 ? a.strides(outer) / item : std::max<py::ssize_t>(a.shape(inner), 1);
  };
  if (lies(0, 1)) return Matrix{data, rows, columns, stride(0, 1), false};
  if (lies(1, 0)) return Matrix{data, rows, columns, stride(1, 0), true};
  return {};
}

bool is_misaligned(py::handle object) {
  return is_plain_array(object) && !is_aligned(py::reinterpret_borrow<py::array>(object));
}

/// Of the result's type, of its size along one axis, and in memory of its own.
py::array factor(const Call& call, py::handle object, const char* argument, const py::array& out, int axis) {
  py::array a = require_float_array(object, call.where(argument));
  if (a.ndim() != 2 || dtype_of(a) != dtype_of(out) || a.shape(axis) != out.shape(axis))
    refuse_value(
        call.where(argument),
        std::string(py::str(out.dtype())) + " with the " + (axis ? "columns" : "rows") + " of out " + describe(out),
        describe(a));
  call.disjoint(out, "out", a, argument);
  return a;
}

bool product(py::handle a_, py::handle b_, py::handle out_, bool by_rows, int threads) {
  const Call call("product");
  if (is_misaligned(a_) || is_misaligned(b_)) return false;
  const py::array out = call.c_array(out_, "out");
  if (out.ndim() != 2) refuse_value(call.where("out"), "a matrix", describe(out));
  call.writeable(out, "out");
  const py::array a = factor(call, a_, "a", out, 0), b = factor(call, b_, "b", out, 1);
  if (a.shape(1) != b.shape(0))
    refuse_value(call.where("b"), "of " + std::to_string(a.shape(1)) + " rows, as a has columns", describe(b));
  const std::optional<Matrix> left = matrix(a), right = matrix(b);
  if (!left || !right) return false;
  const WithoutGil without_gil;
  return multiply(*left, *right, static_cast<char*>(written_or_null(out)), dtype_of(out),
                  by_rows ? Side::rows : Side::columns, threads);
}

}  // namespace

void bind_products(py::module_& m) {
  m.def("find_blas", find_blas, py::arg("library"), "Whether the library, or one that it needs, is OpenBLAS.");
  m.def("product", product, py::arg("a"), py::arg("b"), py::arg("out"), py::arg("by_rows"), py::arg("threads"),
        "out = a b, shared between threads by rows or columns. False, and nothing written, where NumPy should do it.");
}

}  // namespace fusedstep::bind
