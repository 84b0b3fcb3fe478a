#include "bind/batchnorm.h"

#include <cmath>
#include <optional>

#include "driver/batchnorm.h"
#include "driver/parallel.h"

namespace fusedstep::bind {
namespace {

const std::string no_name;

/// The arguments of one call: what is read, what is written, and the errors that name them.
class Call {
 public:
  explicit Call(const char* name) : name_(name) {}

  Where where(const char* argument) const { return {name_, argument, -1, no_name}; }

  py::array c_array(py::handle object, const char* argument) const {
    py::array a = require_float_array(object, where(argument));
    if (!(a.flags() & py::array::c_style))
      refuse_value(where(argument), "C-contiguous (channels last: an N, ..., C array with axis=-1)",
                   describe(a) + " with strides " + std::string(py::str(a.attr("strides"))));
    return a;
  }

  /// An array like `model`.
  py::array like(py::handle object, const char* argument, const py::array& model, const char* of) const {
    py::array a = c_array(object, argument);
    bool same = a.ndim() == model.ndim() && dtype_of(a) == dtype_of(model);
    for (py::ssize_t d = 0; same && d < a.ndim(); ++d) same = a.shape(d) == model.shape(d);
    if (!same) refuse_value(where(argument), "like " + std::string(of) + ": " + describe(model), describe(a));
    return a;
  }

  /// One value per channel, of the type of `model`; null for None.
  py::array per_channel(py::handle object, const char* argument, const py::array& model, py::ssize_t channels) const {
    if (object.is_none()) return py::reinterpret_borrow<py::array>(py::handle());
    py::array a = require_float_array(object, where(argument));
    const bool dense = a.flags() & py::array::c_style;
    if (a.ndim() != 1 || a.shape(0) != channels || dtype_of(a) != dtype_of(model) || !dense)
      refuse_value(where(argument),
                   std::string("None or a C-contiguous ") + std::string(py::str(model.dtype())) + " (" +
                       std::to_string(channels) + ",)",
                   describe(a));
    return a;
  }

  void writeable(const py::array& a, const char* argument) const {
    if (a.ptr() && !a.writeable()) refuse_value(where(argument), "writeable", "a read-only " + describe(a));
  }

  void disjoint(const py::array& written, const char* argument, const py::array& other, const char* name) const {
    if (!written.ptr() || !other.ptr()) return;
    const Extent w = extent(written), o = extent(other);
    if (w.low < o.high && o.low < w.high)
      refuse_value(where(argument), std::string("in memory of its own"), std::string("memory shared with ") + name);
  }

 private:
  const std::string name_;
};

bool same_memory(const py::array& a, const py::array& b) { return a.ptr() && b.ptr() && a.data() == b.data(); }
const void* data_or_null(const py::array& a) { return a.ptr() ? a.data() : nullptr; }
void* written_or_null(const py::array& a) { return const_cast<void*>(data_or_null(a)); }

py::array empty(const py::array& model, std::vector<py::ssize_t> shape) {
  return py::array(model.dtype(), std::move(shape));
}
py::array empty_like(const py::array& a) { return empty(a, {a.shape(), a.shape() + a.ndim()}); }

py::array as_array(const std::vector<double>& v) { return py::array_t<double>(py::ssize_t(v.size()), v.data()); }

BatchNormShape shape_of(const py::array& x, py::ssize_t axis, const Call& call) {
  const py::ssize_t n = x.ndim(), at = axis < 0 ? axis + n : axis;
  if (n < 2) refuse_value(call.where("x"), "of at least 2 axes", describe(x));
  if (at < 0 || at >= n) refuse_value(call.where("axis"), "an axis of x " + describe(x), std::to_string(axis));
  if (x.size() == 0) refuse_value(call.where("x"), "not empty", describe(x));
  BatchNormShape s{1, x.shape(at), 1};
  for (py::ssize_t d = 0; d < at; ++d) s.outer *= x.shape(d);
  for (py::ssize_t d = at + 1; d < n; ++d) s.inner *= x.shape(d);
  return s;
}

struct Saved {
  py::array x, y;  // y only where its sign is needed: behind a residual and a ReLU
  BatchNormShape shape;
  BatchNormCoefficients coefficients;
  BatchNormMask mask;
  bool training, has_gamma, has_beta, has_residual, overwritten;
};

/// The weight of this batch in the running statistics; counts the batch where there is a counter.
class Momentum {
 public:
  Momentum(py::handle momentum, py::handle counter, bool needed, const Call& call) {
    if (!counter.is_none()) take_counter(counter, call);
    if (!momentum.is_none()) {
      value_ = py::cast<double>(momentum);
      if (!(value_ >= 0 && value_ <= 1))
        refuse_value(call.where("momentum"), "None or from 0 to 1", py::repr(momentum));
    } else if (needed && !count_) {
      refuse_value(call.where("num_batches"), "given where momentum is None: the cumulative average counts its batches",
                   "None");
    } else if (count_) {
      value_ = 1.0 / double(*count_ + 1);
    }
  }
  double value() const { return value_; }
  void count() const {
    if (count_) ++*count_;
  }
  const py::array& array() const { return array_; }

 private:
  void take_counter(py::handle object, const Call& call) {
    const Where where = call.where("num_batches");
    const bool fits = py::isinstance<py::array_t<std::int64_t>>(object);
    if (!fits || py::reinterpret_borrow<py::array>(object).size() != 1)
      refuse_type(where, "None or an int64 array of one item", describe(object));
    array_ = py::reinterpret_borrow<py::array>(object);
    call.writeable(array_, "num_batches");
    count_ = static_cast<std::int64_t*>(array_.mutable_data());
    if (*count_ < 0) refuse_value(where, "at least 0", std::to_string(*count_));
  }

  double value_ = 0;
  py::array array_ = py::reinterpret_borrow<py::array>(py::handle());
  std::int64_t* count_ = nullptr;
};

struct Channels {
  py::array gamma, beta, running_mean, running_var;
};

Channels channels_of(const Call& call, const py::array& x, const BatchNormShape& s, py::handle gamma, py::handle beta,
                     py::handle running_mean, py::handle running_var, bool training) {
  Channels c{call.per_channel(gamma, "gamma", x, s.channels), call.per_channel(beta, "beta", x, s.channels),
             call.per_channel(running_mean, "running_mean", x, s.channels),
             call.per_channel(running_var, "running_var", x, s.channels)};
  if (bool(c.running_mean.ptr()) != bool(c.running_var.ptr()))
    refuse_value(call.where("running_var"), "given together with running_mean", describe(running_var));
  if (!training && !c.running_mean.ptr())
    refuse_value(call.where("running_mean"), "given where training is False", "None");
  if (training) {
    call.writeable(c.running_mean, "running_mean");
    call.writeable(c.running_var, "running_var");
    call.disjoint(c.running_mean, "running_mean", c.running_var, "running_var");
    for (const auto& [other, name] : {std::pair{&x, "x"}, {&c.gamma, "gamma"}, {&c.beta, "beta"}}) {
      call.disjoint(c.running_mean, "running_mean", *other, name);
      call.disjoint(c.running_var, "running_var", *other, name);
    }
  }
  return c;
}

py::array output(const Call& call, py::handle out, const py::array& x, const py::array& residual, const Channels& c) {
  if (out.is_none()) return empty_like(x);
  py::array y = call.like(out, "out", x, "x");
  call.writeable(y, "out");
  if (!same_memory(y, x)) call.disjoint(y, "out", x, "a part of x");
  if (!same_memory(y, residual)) call.disjoint(y, "out", residual, "a part of residual");
  call.disjoint(y, "out", c.gamma, "gamma");
  call.disjoint(y, "out", c.beta, "beta");
  call.disjoint(y, "out", c.running_mean, "running_mean");
  call.disjoint(y, "out", c.running_var, "running_var");
  return y;
}

py::tuple batch_norm(py::handle x_object, py::handle gamma, py::handle beta, py::handle running_mean,
                     py::handle running_var, bool training, py::handle momentum, double eps, py::ssize_t axis,
                     bool relu, py::handle residual_object, py::handle out, py::handle num_batches) {
  const Call call("batch_norm");
  const py::array x = call.c_array(x_object, "x");
  const BatchNormShape s = shape_of(x, axis, call);
  if (training && s.outer * s.inner < 2)
    refuse_value(call.where("x"), "of more than one value per channel where training is True", describe(x));
  if (!(eps >= 0 && std::isfinite(eps))) refuse_value(call.where("eps"), "finite and at least 0", std::to_string(eps));
  const Channels c = channels_of(call, x, s, gamma, beta, running_mean, running_var, training);
  const auto residual = residual_object.is_none() ? py::reinterpret_borrow<py::array>(py::handle())
                                                  : call.like(residual_object, "residual", x, "x");
  const Momentum weight(momentum, num_batches, training && c.running_mean.ptr(), call);
  const py::array y = output(call, out, x, residual, c);
  if (training) {
    call.disjoint(c.running_mean, "running_mean", residual, "residual");
    call.disjoint(c.running_var, "running_var", residual, "residual");
    for (const auto& [other, name] : {std::pair{&x, "x"},
                                      {&y, "out"},
                                      {&residual, "residual"},
                                      {&c.gamma, "gamma"},
                                      {&c.beta, "beta"},
                                      {&c.running_mean, "running_mean"},
                                      {&c.running_var, "running_var"}})
      call.disjoint(weight.array(), "num_batches", *other, name);
  }
  const bool behind_residual = relu && residual.ptr();
  auto saved = std::make_unique<Saved>(Saved{x, behind_residual ? y : py::reinterpret_borrow<py::array>(py::handle()),
                                             s, BatchNormCoefficients(s, dtype_of(x)),
                                             behind_residual ? BatchNormMask::output
                                             : relu          ? BatchNormMask::recomputed
                                                             : BatchNormMask::none,
                                             training, c.gamma.ptr() != nullptr, c.beta.ptr() != nullptr,
                                             residual.ptr() != nullptr, same_memory(x, y)});
  BatchNormPass pass(s, dtype_of(x), available_threads());
  BatchNormForward f{};
  f.x = x.data(), f.residual = data_or_null(residual), f.y = written_or_null(y), f.relu = relu;
  const BatchNormParameters p{data_or_null(c.gamma), data_or_null(c.beta), written_or_null(c.running_mean),
                              written_or_null(c.running_var)};
  py::object held = py::cast(std::move(saved));
  Saved& kept = py::cast<Saved&>(held);
  {
    const py::gil_scoped_release release;
    pass.forward(f, p, {training, weight.value(), eps}, kept.coefficients);
  }
  if (training) weight.count();
  return py::make_tuple(y, held);
}

py::tuple batch_norm_backward(py::handle dy_object, py::handle saved_object, py::handle out) {
  const Call call("batch_norm_backward");
  if (!py::isinstance<Saved>(saved_object))
    refuse_type(call.where("saved"), "the second result of batch_norm", describe(saved_object));
  const Saved& saved = py::cast<const Saved&>(saved_object);
  if (saved.overwritten)
    refuse_value(call.where("saved"), "of a call that left x as it was: the gradient needs x", "a call with out=x");
  const py::array dy = call.like(dy_object, "dy", saved.x, "x");
  const bool own_residual = saved.mask == BatchNormMask::output;
  py::handle dx_object = out, dz_object = Py_None;
  if (py::isinstance<py::tuple>(out)) {
    const auto pair = py::reinterpret_borrow<py::tuple>(out);
    if (pair.size() != 2 || !own_residual)
      refuse_value(call.where("out"), own_residual ? "dx or (dx, dresidual)" : "one array: dresidual is dy or None",
                   "a tuple of " + std::to_string(pair.size()));
    dx_object = PyTuple_GET_ITEM(out.ptr(), 0), dz_object = PyTuple_GET_ITEM(out.ptr(), 1);
  }
  const auto target = [&](py::handle object, const char* name) {
    if (object.is_none()) return empty_like(saved.x);
    py::array a = call.like(object, name, saved.x, "x");
    call.writeable(a, name);
    call.disjoint(a, name, saved.x, "x");
    call.disjoint(a, name, saved.y, "y");
    if (!same_memory(a, dy)) call.disjoint(a, name, dy, "a part of dy");
    return a;
  };
  const py::array dx = target(dx_object, "out");
  const auto none = py::reinterpret_borrow<py::array>(py::handle());
  const py::array dz = own_residual ? target(dz_object, "out") : none;
  if (saved.has_residual && !own_residual) call.disjoint(dx, "out", dy, "dy, which is dresidual too");
  call.disjoint(dz, "out", dx, "dx");
  const auto per_channel = [&](bool there) { return there ? empty(dy, {saved.shape.channels}) : none; };
  const py::array dgamma = per_channel(saved.has_gamma), dbeta = per_channel(saved.has_beta);
  BatchNormPass pass(saved.shape, dtype_of(dy), available_threads());
  BatchNormBackward b{};
  b.dy = dy.data(), b.x = saved.x.data(), b.y = data_or_null(saved.y), b.mask = saved.mask;
  b.frozen = !saved.training, b.dx = written_or_null(dx), b.dz = written_or_null(dz);
  {
    const py::gil_scoped_release release;
    pass.backward(b, saved.coefficients, written_or_null(dgamma), written_or_null(dbeta));
  }
  const auto or_none = [](const py::array& a) -> py::object { return a.ptr() ? py::object(a) : py::none(); };
  const py::array& dresidual = own_residual ? dz : saved.has_residual ? dy : none;
  return py::make_tuple(dx, or_none(dgamma), or_none(dbeta), or_none(dresidual));
}

/// Statistics that grow by whole arrays.
class Moments {
 public:
  void update(py::handle object, py::ssize_t axis) {
    const Call call("BatchStats.update");
    const py::array x = call.c_array(object, "x");
    const BatchNormShape s = shape_of(x, axis, call);
    check(s.channels, call.where("x"));
    BatchNormPass pass(s, dtype_of(x), available_threads());
    start(s.channels);
    BatchMoments& mine = moments_;
    const py::gil_scoped_release release;
    pass.moments(x.data(), mine);
  }

  void merge(const Moments& other) {
    if (other.moments_.count == 0) return;
    check(std::ptrdiff_t(other.moments_.mean.size()), Call("BatchStats.merge").where("other"));
    start(std::ptrdiff_t(other.moments_.mean.size()));
    fusedstep::merge(moments_, other.moments_);
  }

  std::int64_t count() const { return moments_.count; }
  py::array mean() const { return as_array(moments_.mean); }
  py::array m2() const { return as_array(moments_.m2); }

 private:
  void check(std::ptrdiff_t channels, const Where& where) const {
    if (moments_.count > 0 && channels != std::ptrdiff_t(moments_.mean.size()))
      refuse_value(where, "of " + std::to_string(moments_.mean.size()) + " channels", std::to_string(channels));
  }
  void start(std::ptrdiff_t channels) {
    moments_.mean.resize(std::size_t(channels));
    moments_.m2.resize(std::size_t(channels));
  }
  BatchMoments moments_;
};

}  // namespace

void bind_batchnorm(py::module_& m) {
  py::class_<Saved>(m, "BatchNormSaved", "What batch_norm leaves for batch_norm_backward.")
      .def_property_readonly("x", [](const Saved& s) { return s.x; })
      .def_property_readonly("mean", [](const Saved& s) { return as_array(s.coefficients.mean); })
      .def_property_readonly("invstd", [](const Saved& s) { return as_array(s.coefficients.invstd); })
      .def_property_readonly("training", [](const Saved& s) { return s.training; });
  m.def("batch_norm", batch_norm, py::arg("x"), py::arg("gamma"), py::arg("beta"), py::arg("running_mean"),
        py::arg("running_var"), py::arg("training"), py::arg("momentum"), py::arg("eps"), py::arg("axis"),
        py::arg("relu"), py::arg("residual"), py::arg("out"), py::arg("num_batches"));
  m.def("batch_norm_backward", batch_norm_backward, py::arg("dy"), py::arg("saved"), py::arg("out"));
  py::class_<Moments>(m, "Moments")
      .def(py::init<>())
      .def("update", &Moments::update, py::arg("x"), py::arg("axis"))
      .def("merge", &Moments::merge, py::arg("other"))
      .def_property_readonly("count", &Moments::count)
      .def_property_readonly("mean", &Moments::mean)
      .def_property_readonly("m2", &Moments::m2);
}

}  // namespace fusedstep::bind
