// Raises the errors of tensors that a plan cannot use.
#include "python/torch.h"

namespace fusedstep::bind {

std::string describe_tensor(py::handle object) {
  if (!py::hasattr(object, "dtype") || !py::hasattr(object, "device") || !py::hasattr(object, "layout"))
    return py::str(py::type::handle_of(object).attr("__name__"));
  std::string text = py::str(object.attr("dtype"));
  text += " " + std::string(py::str(py::tuple(py::list(object.attr("shape")))));  // a tuple, not torch.Size
  const std::string device = py::str(object.attr("device")), layout = py::str(object.attr("layout"));
  if (device != "cpu") text += " on " + device;
  if (layout != "torch.strided") text += " with layout " + layout;
  return text;
}

void require_storage(py::handle tensor, const View& view, const Where& where) {
  if (const auto bytes = dlpack::lacking_storage(tensor, view))
    refuse_value(where, "a tensor whose storage holds all its elements",
                 describe_tensor(tensor) + " in a storage of " + std::to_string(*bytes) + " bytes");
}

void TorchSource::refuse(py::handle object, const Where& where) const {
  dlpack::Tensor t;
  const bool known = describe_(object.ptr(), &t) == 0;
  if (!known) PyErr_Clear();
  if (!known || t.device.type != dlpack::cpu || (!t.data && !dlpack::is_empty(t)))
    refuse_type(where, "a dense tensor in the CPU's memory",
                describe_tensor(object) + (!known                         ? ", which has no memory of its own"
                                           : t.device.type == dlpack::cpu ? " without memory"
                                                                          : ""));
  if (!dlpack::dtype_of(t)) refuse_type(where, "float32, float64, bfloat16 or float16", describe_tensor(object));
  View v;
  if (!dlpack::look(t, v))
    refuse_value(where, "aligned to the size of its items", "a misaligned " + describe_tensor(object));
  refuse_value(where, "a tensor whose elements do not share memory with each other",
               describe_tensor(object) + " with strides " + std::string(py::str(object.attr("stride")())));
}

void TorchSource::refuse_gradient(py::handle gradient, py::handle parameter, const Where& where) const {
  const std::string got = describe_tensor(gradient), need = describe_tensor(parameter);
  if (py::getattr(gradient, "is_sparse", py::bool_(false)).cast<bool>())  // RuntimeError, as in torch
    throw std::runtime_error(where.text() + " must be dense, because sparse gradients are not supported; got " + got);
  dlpack::Tensor t;
  View v;
  if (describe_(gradient.ptr(), &t) != 0)
    PyErr_Clear(), refuse_value(where, need + " with memory of its own", got + ", which has no memory of its own");
  if (!dlpack::look(t, v) && t.data && t.device.type == dlpack::cpu && dlpack::dtype_of(t))
    refuse_value(where, "aligned to the size of its items", "a misaligned " + got);
  if (!t.data && !dlpack::is_empty(t)) refuse_value(where, need + " with memory", got + " without memory");
  refuse_value(where, need, got);
}

}  // namespace fusedstep::bind
