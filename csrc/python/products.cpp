#include "python/products.h"

#include <algorithm>
#include <optional>

#include "network/blas.h"
#include "python/call.h"
#include "python/gil.h"

namespace fusedstep::bind {
namespace {

/// Of an aligned array whose rows, or columns, are contiguous; nothing for other strides.
std::optional<Matrix> matrix(const py::array& a) {
  const py::ssize_t item = a.itemsize(), rows = a.shape(0), columns = a.shape(1);
  const char* const data = static_cast<const char*>(a.data());
  const auto lies = [&](int outer, int inner) {
    return (a.shape(inner) <= 1 || a.strides(inner) == item) &&
           (a.shape(outer) <= 1 || a.strides(outer) >= std::max<py::ssize_t>(a.shape(inner), 1) * item);
  };
  const auto stride = [&](int outer, int inner) {
    return a.shape(outer) > 1 ? a.strides(outer) / item : std::max<py::ssize_t>(a.shape(inner), 1);
  };
  if (lies(0, 1)) return Matrix{data, rows, columns, stride(0, 1), false};
  if (lies(1, 0)) return Matrix{data, rows, columns, stride(1, 0), true};
  return {};
}

/// What BLAS can take as it lies; nothing for what NumPy would convert or copy first, or refuse.
std::optional<Matrix> factor(py::handle object, const py::array& out) {
  if (!is_plain_array(object)) return {};
  const auto a = py::reinterpret_borrow<py::array>(object);
  if (a.ndim() != 2 || !is_native_float(a) || !is_aligned(a) || dtype_of(a) != dtype_of(out) || overlap(a, out))
    return {};
  return matrix(a);
}

bool product(py::handle a_, py::handle b_, py::handle out_, bool by_rows, int threads) {
  const Call call("product");
  const py::array out = call.c_array(out_, "out");
  if (out.ndim() != 2) refuse_value(call.where("out"), "a matrix", describe(out));
  call.writeable(out, "out");
  const std::optional<Matrix> a = factor(a_, out), b = factor(b_, out);
  if (!a || !b) return false;
  if (a->columns != b->rows)
    refuse_value(call.where("b"), "of " + std::to_string(a->columns) + " rows, as a has columns", describe(b_));
  if (a->rows != out.shape(0) || b->columns != out.shape(1))
    refuse_value(call.where("out"), "of the rows of a " + describe(a_) + " and the columns of b " + describe(b_),
                 describe(out));
  const WithoutGil without_gil;
  return multiply(*a, *b, static_cast<char*>(written_or_null(out)), dtype_of(out), by_rows ? Side::rows : Side::columns,
                  threads);
}

}  // namespace

void bind_products(py::module_& m) {
  m.def("find_blas", find_blas, py::arg("library"), "Whether the library, or one that it needs, is OpenBLAS.");
  m.def("product", product, py::arg("a"), py::arg("b"), py::arg("out"), py::arg("by_rows"), py::arg("threads"),
        "out = a b, shared between threads by rows or columns. False, and nothing written, where NumPy should do it.");
}

}  // namespace fusedstep::bind
