#include <algorithm>
#include <optional>
#include <vector>

#include "network/blas.h"
#include "network/kernel.h"
#include "python/bindings.h"
#include "python/call.h"
#include "python/gil.h"
#include "step/squares.h"

namespace fusedstep::bind {
namespace {

/// Returns the object as an output array. It must have the dtype and the shape of x, and be x itself or not overlap x.
py::array output(const Call& call, py::handle object, const char* argument, const py::array& x, const char* x_name) {
  py::array to = call.like(object, argument, x, x_name);
  call.writeable(to, argument);
  if (to.data() != x.data()) call.disjoint(to, argument, x, x_name);
  return to;
}

py::ssize_t last_axis(const py::array& a) { return a.ndim() == 0 ? 1 : a.shape(a.ndim() - 1); }

void relu(py::handle x_, py::handle bias_, py::handle out_) {
  const Call call("relu");
  const py::array x = call.c_array(x_, "x"), y = output(call, out_, "out", x, "x");
  const py::ssize_t width = last_axis(x), rows = x.size() == 0 ? 0 : x.size() / width;
  const py::array bias = call.per_channel(bias_, "bias", x, width);
  call.disjoint(y, "out", bias, "bias");
  const ReluFn fn = network_kernels().relu[int(dtype_of(x))];
  const WithoutGil without_gil;
  fn(x.data(), data_or_null(bias), written_or_null(y), rows, width);
}

void relu_backward(py::handle dy_, py::handle y_, py::handle out_) {
  const Call call("relu_backward");
  const py::array dy = call.c_array(dy_, "dy"), y = call.like(y_, "y", dy, "dy");
  const py::array dx = output(call, out_, "out", dy, "dy");
  if (dx.data() != dy.data()) call.disjoint(dx, "out", y, "y");
  const ReluBackwardFn fn = network_kernels().relu_backward[int(dtype_of(dy))];
  const WithoutGil without_gil;
  fn(dy.data(), y.data(), written_or_null(dx), dy.size());
}

/// The index of the first label that is not in [0, classes), or -1 if there is no such label.
py::ssize_t first_bad(const std::vector<std::int64_t>& labels, py::ssize_t classes) {
  const auto bad = std::find_if(labels.begin(), labels.end(),
                                [=](std::int64_t label) { return std::uint64_t(label) >= std::uint64_t(classes); });
  return bad == labels.end() ? -1 : bad - labels.begin();
}

py::ssize_t softmax_loss(py::handle logits_, const py::array_t<std::int64_t, py::array::c_style>& labels,
                         py::handle losses_, py::handle gradient_) {
  const Call call("softmax_loss");
  const py::array z = call.c_array(logits_, "logits"), gradient = output(call, gradient_, "gradient", z, "logits");
  if (z.ndim() != 2 || z.size() == 0) refuse_value(call.where("logits"), "of shape (n, k), not empty", describe(z));
  const py::ssize_t n = z.shape(0), k = z.shape(1);
  if (labels.ndim() != 1 || labels.shape(0) != n)
    refuse_value(call.where("labels"), "int64 (" + std::to_string(n) + ",)", describe(labels));
  const py::array losses = call.per_channel(losses_, "losses", z, n);
  if (!losses.ptr()) refuse_type(call.where("losses"), "an array", "None");
  call.writeable(losses, "losses");
  for (const py::array& other : {z, gradient}) call.disjoint(losses, "losses", other, "logits or gradient");
  const SoftmaxLossFn fn = network_kernels().softmax_loss[int(dtype_of(z))];
  // a copy, because another thread may write to the user's array
  const std::vector<std::int64_t> own(labels.data(), labels.data() + n);
  const WithoutGil without_gil;
  const py::ssize_t bad = first_bad(own, k);
  if (bad < 0) fn(z.data(), own.data(), written_or_null(losses), written_or_null(gradient), n, k);
  return bad;
}

double squares(py::handle x_) {
  const py::array x = Call("sum_of_squares").c_array(x_, "x");
  const WithoutGil without_gil;
  return sum_of_squares(static_cast<const char*>(x.data()), x.size(), dtype_of(x));
}

/// Describes an aligned array whose rows or columns are contiguous. Returns nothing for other strides.
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

/// Describes a matrix that BLAS can read in place while it writes the product to `out`. Returns nothing for any other
/// object. NumPy then computes the product or refuses the object.
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
    refuse_value(call.where("b"), "of " + std::to_string(a->columns) + " rows, one for each column of a", describe(b_));
  if (a->rows != out.shape(0) || b->columns != out.shape(1))
    refuse_value(call.where("out"),
                 "of " + std::to_string(a->rows) + " rows, one for each row of a, and " + std::to_string(b->columns) +
                     " columns, one for each column of b",
                 describe(out));
  const WithoutGil without_gil;
  return multiply(*a, *b, static_cast<char*>(written_or_null(out)), dtype_of(out), by_rows ? Side::rows : Side::columns,
                  threads);
}

}  // namespace

void bind_network(py::module_& m) {
  m.def("relu", relu, py::arg("x"), py::arg("bias"), py::arg("out"), "Write out = max(x + bias, 0) for each row.");
  m.def("relu_backward", relu_backward, py::arg("dy"), py::arg("y"), py::arg("out"),
        "Write out = dy where y > 0, and 0 elsewhere.");
  m.def("softmax_loss", softmax_loss, py::arg("logits"), py::arg("labels").noconvert(), py::arg("losses"),
        py::arg("gradient"),
        "Write -log softmax(logits)[label] of each row to losses, and the gradient of their mean to gradient. Then "
        "return -1. But if a label is not in [0, k), where k is the number of columns, write nothing and return the "
        "index of the first such label.");
  m.def("sum_of_squares", squares, py::arg("x"), "Return the sum of the squares of all elements, in float64.");
  m.def("find_blas", find_blas, py::arg("library"),
        "Return True if the library or one of its dependencies is OpenBLAS.");
  m.def("product", product, py::arg("a"), py::arg("b"), py::arg("out"), py::arg("by_rows"), py::arg("threads"),
        "Write out = a b and return True. Each thread computes some rows of out, or some columns if by_rows is False. "
        "If NumPy should compute the product instead, write nothing and return False.");
}

}  // namespace fusedstep::bind
