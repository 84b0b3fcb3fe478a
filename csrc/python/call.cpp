#include "python/call.h"

namespace fusedstep::bind {

py::array Call::c_array(py::handle object, const char* argument, bool halves, const char* advice) const {
  py::array a = (halves ? require_number_array : require_float_array)(object, where(argument));
  if (!(a.flags() & py::array::c_style))
    refuse_value(where(argument), "C-contiguous",
                 describe(a) + " with strides " + std::string(py::str(a.attr("strides"))) + advice);
  return a;
}

py::array Call::like(py::handle object, const char* argument, const py::array& model, const char* of) const {
  py::array a = c_array(object, argument, is_half(dtype_of(model)));
  bool same = a.ndim() == model.ndim() && dtype_of(a) == dtype_of(model);
  for (py::ssize_t d = 0; same && d < a.ndim(); ++d) same = a.shape(d) == model.shape(d);
  if (!same) refuse_value(where(argument), "like " + std::string(of) + ": " + describe(model), describe(a));
  return a;
}

py::array Call::per_channel(py::handle object, const char* argument, const py::array& model,
                            py::ssize_t channels) const {
  if (object.is_none()) return no_array();
  const DType type = dtype_of(model), number = computed_in(type);
  py::array a = (is_half(type) ? require_number_array : require_float_array)(object, where(argument));
  const bool dense = a.flags() & py::array::c_style, known = dtype_of(a) == type || dtype_of(a) == number;
  if (a.ndim() != 1 || a.shape(0) != channels || !known || !dense)
    refuse_value(where(argument),
                 "None, or a C-contiguous array of dtype " + dtype_name(model) + (number == type ? "" : " or float32") +
                     " and shape (" + std::to_string(channels) + ",)",
                 describe(a) + (dense ? "" : " with gaps"));
  return a;
}

void Call::writeable(const py::array& a, const char* argument) const {
  if (a.ptr() && !a.writeable()) refuse_value(where(argument), "writeable", "a read-only " + describe(a));
}

void Call::disjoint(const py::array& written, const char* argument, const py::array& other, const char* name) const {
  if (written.ptr() && other.ptr() && overlap(written, other))
    refuse_value(where(argument), "in memory of its own", std::string("memory shared with ") + name);
}

BatchNormShape Call::shape_of(const py::array& x, py::ssize_t axis) const {
  const py::ssize_t n = x.ndim(), at = axis < 0 ? axis + n : axis;
  if (n < 2) refuse_value(where("x"), "an array with at least 2 axes", describe(x));
  if (at < 0 || at >= n) refuse_value(where("axis"), "an axis of x, " + describe(x), std::to_string(axis));
  if (x.size() == 0) refuse_value(where("x"), "an array that is not empty", describe(x));
  BatchNormShape s{1, x.shape(at), 1};
  for (py::ssize_t d = 0; d < at; ++d) s.outer *= x.shape(d);
  for (py::ssize_t d = at + 1; d < n; ++d) s.inner *= x.shape(d);
  return s;
}

}  // namespace fusedstep::bind
