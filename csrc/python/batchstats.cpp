#include <pybind11/stl.h>

#include "batchnorm/batchnorm.h"
#include "machine/parallel.h"
#include "python/bindings.h"
#include "python/call.h"

namespace fusedstep::bind {
namespace {

/// For each channel, over all arrays that were passed to `update`: the number of values, their mean, and the sum of
/// their squared deviations from the mean.
class ChannelMoments {
 public:
  void update(py::handle object, py::ssize_t axis) {
    const Call call("BatchStats.update");
    const py::array x = call.c_array(object, "x", true, Call::channels_last);
    const BatchNormShape s = call.shape_of(x, axis);
    check(s.channels, call.where("x"));
    BatchNormPass pass(s, dtype_of(x), available_threads());
    start(s.channels);
    pass.moments(x.data(), moments_);
  }

  void merge(const ChannelMoments& other) {
    const Call call("BatchStats.merge");
    if (other.moments_.count == 0) return;
    const auto channels = std::ptrdiff_t(other.moments_.mean.size());
    check(channels, call.where("other"));
    start(channels);
    fusedstep::merge(moments_, other.moments_);
  }

  py::tuple state() const { return py::make_tuple(count(), mean(), m2()); }

  static ChannelMoments of(const py::tuple& state) {
    using Values = std::vector<double>;
    ChannelMoments made;
    if (state.size() == 3)
      made.moments_ = {state[0].cast<std::int64_t>(), state[1].cast<Values>(), state[2].cast<Values>()};
    const auto& [count, mean, m2] = made.moments_;
    if (state.size() != 3 || count < 0 || mean.size() != m2.size() || (count > 0) == mean.empty())
      throw py::value_error(
          "BatchStats: state must be a count, a list of means, and a list of sums of squared deviations");
    return made;
  }

  std::int64_t count() const { return moments_.count; }
  py::array mean() const { return copy(moments_.mean); }
  py::array m2() const { return copy(moments_.m2); }

 private:
  static py::array copy(const std::vector<double>& v) { return py::array_t<double>(py::ssize_t(v.size()), v.data()); }
  void check(std::ptrdiff_t channels, const Where& where) const {
    if (moments_.count > 0 && channels != std::ptrdiff_t(moments_.mean.size()))
      refuse_value(where, "of " + std::to_string(moments_.mean.size()) + " channels, like all earlier arrays",
                   std::to_string(channels) + " channels");
  }
  void start(std::ptrdiff_t channels) {
    moments_.mean.resize(std::size_t(channels));
    moments_.m2.resize(std::size_t(channels));
  }
  BatchMoments moments_;
};

}  // namespace

void bind_batchstats(py::module_& m) {
  py::class_<ChannelMoments>(m, "ChannelMoments", py::is_final())
      .def(py::init<>())
      .def("update", &ChannelMoments::update, py::arg("x"), py::arg("axis"))
      .def("merge", &ChannelMoments::merge, py::arg("other"))
      .def_property_readonly("count", &ChannelMoments::count)
      .def_property_readonly("mean", &ChannelMoments::mean)
      .def_property_readonly("m2", &ChannelMoments::m2)
      .def(py::pickle([](const ChannelMoments& self) { return self.state(); }, &ChannelMoments::of));
}

}  // namespace fusedstep::bind
