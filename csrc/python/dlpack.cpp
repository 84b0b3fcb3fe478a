#include "python/dlpack.h"

#include <algorithm>

namespace fusedstep::bind::dlpack {
namespace {

struct ExchangeApi {
  std::uint32_t major, minor;
  ExchangeApi* older;
  void (*allocate)();
  void (*to_managed)();
  void (*from_managed)();
  Describe describe;  // or null
  void (*stream)();
};

struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

struct ManagedVersioned {
  std::uint32_t major, minor;
  void* context;
  void (*deleter)(ManagedVersioned*);
  std::uint64_t flags;
  Tensor tensor;
};
constexpr std::uint64_t read_only = 1;
constexpr int max_axes = 64;

constexpr char plain_name[] = "dltensor", versioned_name[] = "dltensor_versioned";

/// The tensor in a capsule, or null if the kind or the version of the capsule is unknown. A capsule of the older kind,
/// "dltensor", does not say whether its tensor is writeable, so `writeable` is then false.
const Tensor* tensor_of(PyObject* capsule, bool& writeable) {
  writeable = false;
  if (PyCapsule_IsValid(capsule, versioned_name)) {
    const auto* m = static_cast<const ManagedVersioned*>(PyCapsule_GetPointer(capsule, versioned_name));
    writeable = m->major == 1 && !(m->flags & read_only);
    return m->major == 1 ? &m->tensor : nullptr;
  }
  if (!PyCapsule_IsValid(capsule, plain_name)) return nullptr;
  return &static_cast<const Managed*>(PyCapsule_GetPointer(capsule, plain_name))->tensor;
}

/// The strides of C order. The result is valid until this thread calls the function again.
const std::int64_t* c_order(const Tensor& t) {
  thread_local std::int64_t strides[max_axes];
  std::int64_t next = 1;
  for (std::int32_t d = t.ndim; d-- > 0; next *= t.shape[d]) strides[d] = next;
  return strides;
}

}  // namespace

Describe describe_of(py::handle type) {
  const py::object capsule = py::getattr(type, "__dlpack_c_exchange_api__", py::none());
  if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return nullptr;
  auto* api = static_cast<ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  while (api && api->major != 1) api = api->older;
  return api ? api->describe : nullptr;
}

namespace {

std::optional<DType> stored_dtype_of(const Tensor& t) {
  struct Known {
    std::uint8_t code, bits;
    DType dtype;
  };
  static constexpr Known all[] = {{ieee_float, 32, DType::f32},   {ieee_float, 64, DType::f64},
                                  {brain_float, 16, DType::bf16}, {ieee_float, 16, DType::f16},
                                  {unsigned_int, 8, DType::u8},   {signed_int, 16, DType::i16},
                                  {signed_int, 32, DType::i32}};
  for (const Known& k : all)
    if (t.dtype.lanes == 1 && t.dtype.code == k.code && t.dtype.bits == k.bits) return k.dtype;
  return {};
}

}  // namespace

std::optional<DType> dtype_of(const Tensor& t) {
  const std::optional<DType> dtype = stored_dtype_of(t);
  return dtype && is_number(*dtype) ? dtype : std::nullopt;
}

bool is_empty(const Tensor& t) { return std::find(t.shape, t.shape + t.ndim, 0) != t.shape + t.ndim; }

bool look(const Tensor& t, View& v) { return look_at_stored(t, v) && is_number(v.dtype); }

bool look_at_stored(const Tensor& t, View& v) {
  const std::optional<DType> dtype = stored_dtype_of(t);
  if (!dtype || t.device.type != cpu) return false;
  const std::ptrdiff_t size = item_size(*dtype);
  v = {static_cast<char*>(t.data) + t.byte_offset, size, t.ndim, t.shape, t.strides, size, *dtype, true};
  // While torch traces a program, the program's tensors have a size but no memory.
  return v.is_aligned() && (t.data || v.size() == 0);
}

namespace {

py::object ask_for_capsule(py::handle object) {
  try {
    return object.attr("__dlpack__")(py::arg("max_version") = py::make_tuple(1, 0));
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError)) throw;
    return object.attr("__dlpack__")();  // for objects that only support DLPack before 1.0
  }
}

}  // namespace

py::object capsule_of(py::handle object, const Where& where) {
  try {
    if (py::hasattr(object, "__dlpack_device__") &&
        object.attr("__dlpack_device__")().attr("__getitem__")(0).cast<std::int32_t>() != cpu)
      refuse_value(where, "in the CPU's memory", bind::describe(object) + " on another device");
    if (py::hasattr(object, "is_neg")) require_plain_numbers(object, where);
    py::object capsule = ask_for_capsule(object);
    if (PyCapsule_CheckExact(capsule.ptr())) return capsule;
    refuse_value(where, "readable by DLPack", bind::describe(object) + ", whose __dlpack__ returns no capsule");
  } catch (const py::cast_error&) {
    refuse_value(where, "in the CPU's memory",
                 bind::describe(object) + ", whose __dlpack_device__ is not a pair of integers");
  } catch (py::error_already_set& error) {
    refuse_value(where, "readable by DLPack",
                 "an object of class " + bind::describe(object) + ", whose DLPack methods raised " +
                     std::string(py::str(error.type().attr("__name__"))) + ": " + std::string(py::str(error.value())));
  }
}

bool look_at_capsule(PyObject* capsule, View& v) {
  bool writeable = false;
  const Tensor* const t = tensor_of(capsule, writeable);
  if (!t || t->ndim < 0 || t->ndim > max_axes || (t->ndim > 0 && !t->shape) || !look(*t, v)) return false;
  if (!t->strides) v.strides = c_order(*t);
  v.writeable = writeable;
  return true;
}

bool lacks_memory(PyObject* capsule) {
  bool writeable = false;
  const Tensor* const t = tensor_of(capsule, writeable);
  return t && t->device.type == cpu && dtype_of(*t) && !t->data && !is_empty(*t);
}

std::string describe(py::handle capsule, py::handle object) {
  const std::string type = py::str(py::type::handle_of(object).attr("__name__"));
  View v;
  if (lacks_memory(capsule.ptr())) return type + " without memory";
  if (!look_at_capsule(capsule.ptr(), v))
    return type + ", whose dtype, alignment, device or DLPack version is not supported";
  std::string shape;
  for (int d = 0; d < v.ndim; ++d) shape += (d ? ", " : "") + std::to_string(v.shape[d]);
  return std::string(name_of(v.dtype)) + " (" + shape + (v.ndim == 1 ? ",)" : ")") + " (a " + type + ")";
}

void require_plain_numbers(py::handle tensor, const Where& where) {
  if (tensor.attr("is_neg")().cast<bool>() || tensor.attr("is_conj")().cast<bool>())
    refuse_value(where, "a tensor of plain numbers (torch.Tensor.resolve_neg returns one)",
                 "a view that torch negates or conjugates only when it is read");
}

std::optional<std::ptrdiff_t> lacking_storage(py::handle tensor, const View& v) {
  const auto storage = tensor.attr("untyped_storage")();
  const auto* const first = reinterpret_cast<const char*>(storage.attr("data_ptr")().cast<std::uintptr_t>());
  const auto bytes = storage.attr("nbytes")().cast<std::ptrdiff_t>();
  const Extent e = extent(v);
  if (e.empty() || (e.low >= first && e.high <= first + bytes)) return {};
  return bytes;
}

}  // namespace fusedstep::bind::dlpack
