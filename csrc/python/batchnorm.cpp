#include <cmath>
#include <limits>
#include <memory>

#include "batchnorm/batchnorm.h"
#include "formats/halves.h"
#include "machine/parallel.h"
#include "python/bindings.h"
#include "python/call.h"
#include "python/gil.h"

namespace fusedstep::bind {
namespace {

bool same_memory(const py::array& a, const py::array& b) { return a.ptr() && b.ptr() && a.data() == b.data(); }

using Dims = std::vector<py::ssize_t>;
Dims dims_of(const py::array& a) { return {a.shape(), a.shape() + a.ndim()}; }

py::array empty(const py::array& model, Dims shape) { return py::array(model.dtype(), std::move(shape)); }
py::array empty_like(const py::array& a) { return empty(a, dims_of(a)); }
py::object object_or_none(const py::array& a) { return a.ptr() ? py::object(a) : py::none(); }
py::array as_array(const std::vector<double>& v) { return py::array_t<double>(py::ssize_t(v.size()), v.data()); }

/// An array with one number per channel, for kernels, which compute in float32 or float64. An array of one of these
/// types is used in place. The numbers of a 16-bit array are copied to float32.
class PerChannel {
 public:
  explicit PerChannel(py::array array, bool is_read = true) : array_(std::move(array)) {
    if (!array_.ptr() || !is_half(dtype_of(array_))) return;
    numbers_.resize(std::size_t(array_.size()));
    if (is_read) half_kernels().of(dtype_of(array_)).decode(array_.data(), size(), numbers_.data());
  }
  void* data() { return numbers_.empty() ? written_or_null(array_) : numbers_.data(); }
  /// Returns the array. If it has 16 bits, the float32 numbers are first copied back to it.
  const py::array& written() {
    if (!numbers_.empty())
      half_kernels().of(dtype_of(array_)).encode(numbers_.data(), size(), written_or_null(array_), false);
    return array_;
  }

 private:
  std::ptrdiff_t size() const { return std::ptrdiff_t(numbers_.size()); }
  py::array array_;
  std::vector<float> numbers_;
};

struct Saved {
  py::array x;  // null if the caller keeps x
  Snapshot as_it_was;
  Dims dims;
  DType dtype;
  BatchNormShape shape;
  BatchNormCoefficients coefficients;
  std::unique_ptr<std::uint32_t[]> open;  // 1 bit per element: set if the ReLU passed it; or null
  BatchNormMask mask;
  bool training, has_residual, overwritten;
  py::object gamma, beta;  // the dtypes of their gradients, or null
};

/// All arrays of a forward call. An array that was not given is null.
struct Arrays {
  py::array x, gamma, beta, running_mean, running_var, residual, num_batches, out;
};

/// The weight of this batch in the running statistics.
double weight(const Call& call, py::handle momentum, const Arrays& a, bool training) {
  if (!momentum.is_none()) {
    const double value = py::cast<double>(momentum);
    if (!(value >= 0 && value <= 1)) refuse_value(call.where("momentum"), "None or from 0 to 1", py::repr(momentum));
    return value;
  }
  if (a.num_batches.ptr()) return cumulative_momentum(*static_cast<const std::int64_t*>(a.num_batches.data()));
  if (training && a.running_mean.ptr())
    refuse_value(call.where("num_batches"),
                 "given if momentum is None, because the running statistics are then averages over all batches",
                 "None");
  return 0;
}

py::array counter(const Call& call, py::handle object) {
  if (object.is_none()) return no_array();
  const Where where = call.where("num_batches");
  const bool fits = is_plain_array(object) && py::isinstance<py::array_t<std::int64_t>>(object);
  if (!fits || py::reinterpret_borrow<py::array>(object).size() != 1)
    refuse_type(where, "None or an int64 array of one item", describe(object));
  auto a = py::reinterpret_borrow<py::array>(object);
  if (!is_aligned(a))
    refuse_value(where, "aligned to 8 bytes, the size of its item", "a misaligned " + describe(object));
  call.writeable(a, "num_batches");
  const auto n = *static_cast<const std::int64_t*>(a.data());
  if (n < 0 || n == std::numeric_limits<std::int64_t>::max())
    refuse_value(where, "at least 0 and below 2**63 - 1", std::to_string(n));
  return a;
}

/// Checks that the arrays that are written are writeable and share no memory with any other array. There is one
/// exception: `out` may have exactly the memory of x or of the residual.
void check_written(const Call& call, const Arrays& a, bool training) {
  const struct {
    const char* name;
    const py::array& array;
    bool elementwise, written;
  } all[] = {{"x", a.x, true, false},
             {"gamma", a.gamma, false, false},
             {"beta", a.beta, false, false},
             {"running_mean", a.running_mean, false, training},
             {"running_var", a.running_var, false, training},
             {"residual", a.residual, true, false},
             {"num_batches", a.num_batches, false, training},
             {"out", a.out, true, true}};
  for (const auto& target : all) {
    if (!target.written) continue;
    call.writeable(target.array, target.name);
    for (const auto& other : all) {
      const bool in_place = target.elementwise && other.elementwise;
      if (other.name == target.name || (in_place && same_memory(target.array, other.array))) continue;
      call.disjoint(target.array, target.name, other.array,
                    ((in_place ? "a part of " : "") + std::string(other.name)).c_str());
    }
  }
}

Arrays checked(const Call& call, const BatchNormShape& s, const py::array& x, py::handle gamma, py::handle beta,
               py::handle running_mean, py::handle running_var, bool training, py::handle residual, py::handle out,
               py::handle num_batches) {
  Arrays a{x,
           call.per_channel(gamma, "gamma", x, s.channels),
           call.per_channel(beta, "beta", x, s.channels),
           call.per_channel(running_mean, "running_mean", x, s.channels),
           call.per_channel(running_var, "running_var", x, s.channels),
           residual.is_none() ? no_array() : call.like(residual, "residual", x, "x"),
           counter(call, num_batches),
           out.is_none() ? no_array() : call.like(out, "out", x, "x")};
  if (bool(a.running_mean.ptr()) != bool(a.running_var.ptr()))
    refuse_value(call.where("running_var"),
                 a.running_var.ptr() ? "None if running_mean is None" : "given if running_mean is given",
                 describe(running_var));
  if (!training && !a.running_mean.ptr())
    refuse_value(call.where("running_mean"), "given if training is False", "None");
  check_written(call, a, training);
  if (!a.out.ptr()) a.out = empty_like(x);
  return a;
}

py::object dtype_or_null(const py::array& a) { return a.ptr() ? py::object(a.dtype()) : py::object(); }

std::unique_ptr<Saved> make_saved(const Arrays& a, const BatchNormShape& s, bool training, bool relu) {
  const bool both = relu && a.residual.ptr();
  return std::unique_ptr<Saved>(new Saved{
      a.x, Snapshot(view_of(a.x)), dims_of(a.x), dtype_of(a.x), s, BatchNormCoefficients(s, dtype_of(a.x)),
      both ? std::make_unique_for_overwrite<std::uint32_t[]>(std::size_t(mask_words(s))) : nullptr,
      both   ? BatchNormMask::saved
      : relu ? BatchNormMask::recomputed
             : BatchNormMask::none,
      training, a.residual.ptr() != nullptr, same_memory(a.x, a.out), dtype_or_null(a.gamma), dtype_or_null(a.beta)});
}

/// Computes y and the numbers in `saved`, and updates the running statistics and the number of batches.
void normalize(const Arrays& a, const BatchNormOptions& options, bool relu, Saved& saved) {
  BatchNormPass pass(saved.shape, saved.dtype, available_threads());
  BatchNormForward f{};
  f.x = a.x.data(), f.residual = data_or_null(a.residual), f.y = written_or_null(a.out);
  f.relu = relu, f.open = saved.open.get();
  PerChannel gamma(a.gamma), beta(a.beta), mean(a.running_mean), var(a.running_var);
  const BatchNormParameters p{gamma.data(), beta.data(), mean.data(), var.data()};
  {
    const WithoutGil without_gil;
    pass.forward(f, p, options, saved.coefficients);
  }
  if (!options.training) return;
  mean.written(), var.written();
  if (a.num_batches.ptr()) ++*static_cast<std::int64_t*>(written_or_null(a.num_batches));
}

py::tuple batch_norm(py::handle x_object, py::handle gamma, py::handle beta, py::handle running_mean,
                     py::handle running_var, bool training, py::handle momentum, double eps, py::ssize_t axis,
                     bool relu, py::handle residual, py::handle out, py::handle num_batches) {
  const Call call("batch_norm");
  const py::array x = call.c_array(x_object, "x", true, Call::channels_last);
  const BatchNormShape s = call.shape_of(x, axis);
  if (training && s.outer * s.inner < 2)
    refuse_value(call.where("x"), "an array with more than one value per channel if training is True", describe(x));
  if (!(eps >= 0 && std::isfinite(eps))) refuse_value(call.where("eps"), "finite and at least 0", std::to_string(eps));
  const Arrays a = checked(call, s, x, gamma, beta, running_mean, running_var, training, residual, out, num_batches);
  const BatchNormOptions options{training, weight(call, momentum, a, training), eps};
  const py::object held = py::cast(make_saved(a, s, training, relu));
  normalize(a, options, relu, py::cast<Saved&>(held));
  return py::make_tuple(a.out, held);
}

struct Targets {
  py::array dx, dz;  // dz: the array for dresidual; null if there is no dresidual or if it is dy
};

/// The x of the forward call. It is in `saved`, or it is the argument `given` if the caller keeps x.
py::array input_of(const Call& call, const Saved& saved, py::handle given) {
  if (given.is_none() && !saved.x.ptr())
    refuse_value(call.where("x"), "the x of the forward call, because saved does not keep it", describe(given));
  if (given.is_none()) {
    if (View now; !look_at_array(saved.x.ptr(), now) || !saved.as_it_was.matches(now, Snapshot::Use::read))
      refuse_value(call.where("saved"),
                   "from a forward call whose x has kept its memory address, shape and dtype since the call",
                   "a call whose x is now " + describe(saved.x));
    return saved.x;
  }
  const py::array x = call.c_array(given, "x", true);
  if (dims_of(x) != saved.dims || dtype_of(x) != saved.dtype)
    refuse_value(call.where("x"), "the x of the forward call", describe(x));
  return x;
}

Targets targets(const Call& call, const Saved& saved, const py::array& x, const py::array& dy, py::handle out) {
  const bool own = saved.mask == BatchNormMask::saved;
  py::handle dx = out, dz = Py_None;
  if (PyTuple_Check(out.ptr())) {
    if (PyTuple_GET_SIZE(out.ptr()) != 2 || !own)
      refuse_value(call.where("out"),
                   own ? "dx or (dx, dresidual)"
                       : std::string("one array, for dx: dresidual is ") + (saved.has_residual ? "dy itself" : "None") +
                             " and needs no array",
                   "a tuple of " + std::to_string(PyTuple_GET_SIZE(out.ptr())));
    dx = PyTuple_GET_ITEM(out.ptr(), 0), dz = PyTuple_GET_ITEM(out.ptr(), 1);
  }
  const auto target = [&](py::handle object) {
    if (object.is_none()) return empty_like(x);
    py::array a = call.like(object, "out", x, "x");
    call.writeable(a, "out");
    call.disjoint(a, "out", x, "x");
    if (!same_memory(a, dy)) call.disjoint(a, "out", dy, "a part of dy");
    return a;
  };
  Targets t{target(dx), own ? target(dz) : no_array()};
  if (saved.has_residual && !own)
    call.disjoint(t.dx, "out", dy, "dy. The call returns dy itself as dresidual, so out must not overwrite dy");
  call.disjoint(t.dz, "out", t.dx, "dx");
  return t;
}

py::tuple batch_norm_backward(py::handle dy_object, py::handle saved_object, py::handle out, py::handle given) {
  const Call call("batch_norm_backward");
  if (!py::isinstance<Saved>(saved_object))
    refuse_type(call.where("saved"), "the second result of batch_norm", describe(saved_object));
  const auto& saved = py::cast<const Saved&>(saved_object);
  if (saved.overwritten)
    refuse_value(call.where("saved"), "from a call that did not overwrite x, because the gradient needs x",
                 "a call with out=x");
  const py::array x = input_of(call, saved, given), dy = call.like(dy_object, "dy", x, "x");
  const Targets t = targets(call, saved, x, dy, out);
  const auto per_channel = [&](const py::object& dtype) {
    return dtype ? py::array(py::dtype::from_args(dtype), Dims{saved.shape.channels}) : no_array();
  };
  PerChannel dgamma(per_channel(saved.gamma), false), dbeta(per_channel(saved.beta), false);
  BatchNormPass pass(saved.shape, dtype_of(dy), available_threads());
  BatchNormBackward b{};
  b.dy = dy.data(), b.x = x.data(), b.open = saved.open.get(), b.mask = saved.mask;
  b.frozen = !saved.training, b.dx = written_or_null(t.dx), b.dz = written_or_null(t.dz);
  {
    const WithoutGil without_gil;
    pass.backward(b, saved.coefficients, dgamma.data(), dbeta.data());
  }
  const py::object dresidual = t.dz.ptr() ? py::object(t.dz) : saved.has_residual ? py::object(dy) : py::none();
  return py::make_tuple(t.dx, object_or_none(dgamma.written()), object_or_none(dbeta.written()), dresidual);
}

}  // namespace

void bind_batchnorm(py::module_& m) {
  py::class_<Saved>(m, "BatchNormSaved", py::is_final(), "The values that batch_norm saves for batch_norm_backward.")
      .def_property_readonly("x", [](const Saved& s) { return object_or_none(s.x); })
      .def(
          "release_x", [](Saved& s) { s.x = no_array(); },
          "Release the reference to x. The caller must then pass x to batch_norm_backward.")
      .def_property_readonly("mean", [](const Saved& s) { return as_array(s.coefficients.mean); })
      .def_property_readonly("invstd", [](const Saved& s) { return as_array(s.coefficients.invstd); })
      .def_property_readonly("training", [](const Saved& s) { return s.training; });
  m.def("batch_norm", batch_norm, py::arg("x"), py::arg("gamma"), py::arg("beta"), py::arg("running_mean"),
        py::arg("running_var"), py::arg("training"), py::arg("momentum"), py::arg("eps"), py::arg("axis"),
        py::arg("relu"), py::arg("residual"), py::arg("out"), py::arg("num_batches"));
  m.def("batch_norm_backward", batch_norm_backward, py::arg("dy"), py::arg("saved"), py::arg("out"),
        py::arg("x") = py::none());
}

}  // namespace fusedstep::bind
