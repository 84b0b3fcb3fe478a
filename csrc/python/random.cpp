#include <pybind11/stl.h>

#include <algorithm>

#include "machine/parallel.h"
#include "python/bindings.h"
#include "python/gate.h"
#include "python/gil.h"
#include "random/random.h"

namespace fusedstep::bind {
namespace {

using Shape = std::vector<std::int64_t>;

Shape shape_of(const py::array& a) { return {a.shape(), a.shape() + a.ndim()}; }
bool in_c_order(const py::array& a) { return a.flags() & py::array::c_style; }
py::array new_like(const py::array& x) { return {x.dtype(), shape_of(x)}; }

void copy_to(const py::array& to, const py::array& from) { py::module_::import("numpy").attr("copyto")(to, from); }

/// The broadcast of a mask over x. The mask has the shape `wish`, or the shape of x if `wish` is empty. Raises if the
/// shapes do not broadcast.
Broadcast lay_mask(const std::string& call, const char* argument, const py::array& x,
                   const std::optional<Shape>& wish) {
  if (!wish) return {1, x.size(), 1, {}};
  const Shape full = shape_of(x);
  Shape mask(full.size() - std::min(full.size(), wish->size()), 1);
  mask.insert(mask.end(), wish->begin(), wish->end());
  bool fits = mask.size() == full.size();
  for (std::size_t d = 0; fits && d < full.size(); ++d) fits = mask[d] == full[d] || mask[d] == 1;
  if (!fits)
    throw py::value_error(call + ": shape must broadcast to the shape of " + argument + ", " + describe(x) + "; got " +
                          std::string(py::str(py::tuple(py::cast(*wish)))));
  return lay_over(full, mask);
}

const std::string no_name;

/// Checks `out`, or makes a new array if it is None. Calls run(from, to), which writes the result to this array, and
/// returns the array. If an array does not have C order, `run` gets a copy in C order instead.
template <class Run>
py::array apply(const std::string& call, const char* argument, const py::array& from, py::handle out, Run&& run) {
  py::array to = out.is_none() ? new_like(from) : require_output(out, from, argument, {call, "out", -1, no_name});
  if (in_c_order(to)) {
    if (!in_c_order(from)) copy_to(to, from);
    run(in_c_order(from) ? from : to, to);
    return to;
  }
  py::array between = new_like(from);
  copy_to(between, from);
  run(between, between);
  copy_to(to, between);
  return to;
}

py::array drop(const std::string& call, const char* argument, py::handle x, py::handle out,
               const std::optional<Shape>& shape, std::int32_t threshold, double scale, std::uint64_t seed,
               std::uint64_t stream, std::uint64_t offset) {
  const py::array array = require_number_array(x, {call, argument, -1, no_name});
  const Broadcast b = lay_mask(call, argument, array, shape);
  const Drop d{{seed, stream}, offset, b.run, threshold, scale};
  const DType dtype = dtype_of(array);
  return apply(call, argument, array, out, [&](const py::array& from, py::array& to) {
    const void* const x_data = from.data();
    void* const y_data = to.mutable_data();
    const WithoutGil without_gil;
    fusedstep::drop(x_data, y_data, dtype, b, d, available_threads());
  });
}

py::array kept(const Shape& shape, std::int32_t threshold, std::uint64_t seed, std::uint64_t stream,
               std::uint64_t offset) {
  py::array_t<bool> mask(shape);
  const Drop d{{seed, stream}, offset, 1, threshold, 1.0};
  auto* y = reinterpret_cast<std::uint8_t*>(mask.mutable_data());
  const std::int64_t n = mask.size();
  {
    const WithoutGil without_gil;
    keep(y, n, d, available_threads());
  }
  return mask;
}

void add_noise_to(py::array& to, const void* x, const Noise& d) {
  void* const y = to.mutable_data();
  const DType dtype = dtype_of(to);
  const std::int64_t n = to.size();
  const WithoutGil without_gil;
  add_noise(x, y, dtype, n, d, available_threads());
}

py::array noise(const std::string& call, py::handle x, py::handle out, double deviation, std::uint64_t seed,
                std::uint64_t stream, std::uint64_t offset) {
  const Noise d{{seed, stream}, offset, deviation};
  const py::array array = require_float_array(x, {call, "x", -1, no_name});
  return apply(call, "x", array, out, [&](const py::array& from, py::array& to) { add_noise_to(to, from.data(), d); });
}

py::array normal(const Shape& shape, bool is_double, double deviation, std::uint64_t seed, std::uint64_t stream,
                 std::uint64_t offset) {
  py::array to(is_double ? py::dtype::of<double>() : py::dtype::of<float>(), shape);
  add_noise_to(to, nullptr, {{seed, stream}, offset, deviation});
  return to;
}

py::tuple block(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
  std::uint32_t words[4];
  random_kernels().block({seed, stream}, index, words);
  return py::make_tuple(words[0], words[1], words[2], words[3]);
}

py::array words(std::uint64_t seed, std::uint64_t stream, std::uint64_t first, std::uint32_t n) {
  py::array_t<std::uint32_t> to{std::int64_t(n)};
  std::uint32_t* out = to.mutable_data();
  {
    const WithoutGil without_gil;
    random_kernels().words({seed, stream}, first, n, out);
  }
  return to;
}

}  // namespace

void bind_random(py::module_& m) {
  m.def("drop", drop, py::arg("call"), py::arg("argument"), py::arg("x"), py::arg("out"), py::arg("shape"),
        py::arg("threshold"), py::arg("scale"), py::arg("seed"), py::arg("stream"), py::arg("offset"));
  m.def("kept", kept, py::arg("shape"), py::arg("threshold"), py::arg("seed"), py::arg("stream"), py::arg("offset"));
  m.def("noise", noise, py::arg("call"), py::arg("x"), py::arg("out"), py::arg("std"), py::arg("seed"),
        py::arg("stream"), py::arg("offset"));
  m.def("normal", normal, py::arg("shape"), py::arg("is_double"), py::arg("std"), py::arg("seed"), py::arg("stream"),
        py::arg("offset"));
  m.def(
      "philox_block", block, py::arg("seed"), py::arg("stream"), py::arg("index"),
      "Return the four 32-bit words that Philox4x32-10 computes from the key `seed` and the counter (index, stream).");
  m.def("philox_words", words, py::arg("seed"), py::arg("stream"), py::arg("first"), py::arg("n"),
        "Return words first, ..., first + n - 1 of a stream. Word i of the stream is word "
        "i mod 4 of philox_block(seed, stream, i // 4).");
}

}  // namespace fusedstep::bind
