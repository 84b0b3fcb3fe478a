#include "python/dropout.h"

#include <pybind11/stl.h>

#include <algorithm>

#include "machine/cache.h"
#include "machine/parallel.h"
#include "python/gil.h"
#include "random/broadcast.h"
#include "random/kernel.h"

namespace fusedstep::bind {
namespace {

using Shape = std::vector<std::int64_t>;

constexpr std::int64_t chunk = 4096;        // elements; a multiple of every tile
constexpr std::int64_t per_thread = 16384;  // elements that are worth waking a thread for

template <class Body>
void in_chunks(std::int64_t n, Body&& body) {
  const int threads = int(std::min<std::int64_t>(available_threads(), n / per_thread + 1));
  const WithoutGil without_gil;
  parallel_for((n + chunk - 1) / chunk, threads,
               [&](std::int64_t begin, std::int64_t end) { body(begin * chunk, std::min(n, end * chunk)); });
}

Shape shape_of(const py::array& a) { return {a.shape(), a.shape() + a.ndim()}; }
bool in_c_order(const py::array& a) { return a.flags() & py::array::c_style; }
py::array empty_like(const py::array& x) { return {x.dtype(), shape_of(x)}; }

void copy_to(const py::array& to, const py::array& from) { py::module_::import("numpy").attr("copyto")(to, from); }

/// How a mask of this shape lies over x, or an error.
Broadcast lay_mask(const std::string& call, const char* argument, const py::array& x,
                   const std::optional<Shape>& wish) {
  if (!wish) return {1, x.size(), 1, {}};
  const Shape full = shape_of(x);
  Shape mask(full.size() - std::min(full.size(), wish->size()), 1);
  mask.insert(mask.end(), wish->begin(), wish->end());
  bool fits = mask.size() == full.size();
  for (std::size_t d = 0; fits && d < full.size(); ++d) fits = mask[d] == full[d] || mask[d] == 1;
  if (!fits)
    throw py::value_error(call + ": shape must broadcast against " + argument + ", " + describe(x) + "; got " +
                          std::string(py::str(py::tuple(py::cast(*wish)))));
  return lay_over(full, mask);
}

/// All elements of y from x, both in C order, as rows that each begin anew in the mask.
void drop_rows(const void* x, void* y, DType type, const Broadcast& b, const Drop& d) {
  const DropFn fn = random_kernels().drop[int(type)];
  const std::int64_t n = b.rows * b.row, item = std::int64_t(item_size(type));
  const bool past_cache = x != y && b.rows == 1 && b.run == 1 && 2 * n * item > last_level_cache();
  in_chunks(n, [&](std::int64_t begin, std::int64_t end) {
    Drop of_row = d;
    for (std::int64_t at = begin; at < end;) {
      const std::int64_t row = at / b.row * b.row, stop = std::min(end, row + b.row);
      of_row.first = d.first + b.base(at / b.row);
      fn(static_cast<const char*>(x) + row * item, static_cast<char*>(y) + row * item, at - row, stop - row, of_row,
         past_cache);
      at = stop;
    }
  });
}

const std::string no_name;

/// Checks out and calls run(from, to) on memory in C order: theirs where it is so, else by way of copies of x.
template <class Run>
py::array apply(const std::string& call, const char* argument, const py::array& from, py::handle out, Run&& run) {
  py::array to = out.is_none() ? empty_like(from) : require_output(out, from, argument, {call, "out", -1, no_name});
  if (in_c_order(to)) {
    if (!in_c_order(from)) copy_to(to, from);
    run(in_c_order(from) ? from : to, to);
    return to;
  }
  py::array between = empty_like(from);
  copy_to(between, from);
  run(between, between);
  copy_to(to, between);
  return to;
}

py::array drop(const std::string& call, const char* argument, py::handle x, py::handle out,
               const std::optional<Shape>& shape, std::int32_t threshold, double scale, std::uint64_t seed,
               std::uint64_t stream, std::uint64_t offset) {
  const py::array array = require_float_array(x, {call, argument, -1, no_name});
  Broadcast b = lay_mask(call, argument, array, shape);
  if (threshold == 0 || threshold == 65536) b = {1, array.size(), array.size(), {}};  // one fate for all
  const Drop d{{seed, stream}, offset, b.run, threshold, scale};
  return apply(call, argument, array, out, [&](const py::array& from, py::array& to) {
    if (from.size() > 0) drop_rows(from.data(), to.mutable_data(), dtype_of(from), b, d);
  });
}

py::array kept(const Shape& shape, std::int32_t threshold, std::uint64_t seed, std::uint64_t stream,
               std::uint64_t offset) {
  py::array_t<bool> mask(shape);
  const Drop d{{seed, stream}, offset, 1, threshold, 1.0};
  const auto fn = random_kernels().kept;
  auto* y = reinterpret_cast<std::uint8_t*>(mask.mutable_data());
  in_chunks(mask.size(), [&](std::int64_t begin, std::int64_t end) { fn(y, begin, end, d); });
  return mask;
}

void add_noise(const void* x, py::array& to, const Noise& d) {
  const NoiseFn fn = random_kernels().noise[int(dtype_of(to))];
  void* y = to.mutable_data();
  in_chunks(to.size(), [&](std::int64_t begin, std::int64_t end) { fn(x, y, begin, end, d); });
}

py::array noise(const std::string& call, py::handle x, py::handle out, double deviation, std::uint64_t seed,
                std::uint64_t stream, std::uint64_t offset) {
  const Noise d{{seed, stream}, offset, deviation};
  const py::array array = require_float_array(x, {call, "x", -1, no_name});
  return apply(call, "x", array, out, [&](const py::array& from, py::array& to) { add_noise(from.data(), to, d); });
}

py::array normal(const Shape& shape, bool is_double, double deviation, std::uint64_t seed, std::uint64_t stream,
                 std::uint64_t offset) {
  py::array to(is_double ? py::dtype::of<double>() : py::dtype::of<float>(), shape);
  add_noise(nullptr, to, {{seed, stream}, offset, deviation});
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

void bind_dropout(py::module_& m) {
  m.def("drop", drop, py::arg("call"), py::arg("argument"), py::arg("x"), py::arg("out"), py::arg("shape"),
        py::arg("threshold"), py::arg("scale"), py::arg("seed"), py::arg("stream"), py::arg("offset"));
  m.def("kept", kept, py::arg("shape"), py::arg("threshold"), py::arg("seed"), py::arg("stream"), py::arg("offset"));
  m.def("noise", noise, py::arg("call"), py::arg("x"), py::arg("out"), py::arg("std"), py::arg("seed"),
        py::arg("stream"), py::arg("offset"));
  m.def("normal", normal, py::arg("shape"), py::arg("is_double"), py::arg("std"), py::arg("seed"), py::arg("stream"),
        py::arg("offset"));
  m.def("philox_block", block, py::arg("seed"), py::arg("stream"), py::arg("index"),
        "The four words of one block of Philox4x32-10: key = seed, counter = (index, stream).");
  m.def("philox_words", words, py::arg("seed"), py::arg("stream"), py::arg("first"), py::arg("n"),
        "Words first ... first + n - 1 of a stream: word i is word i mod 4 of block i / 4.");
}

}  // namespace fusedstep::bind
