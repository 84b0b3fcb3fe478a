// The part of DLPack 1.3's binary interface that is needed to read a tensor in place. A type can have a table of
// functions, in a capsule that is its attribute `__dlpack_c_exchange_api__`. One function of the table describes an
// object of the type without taking a reference. Objects of types without this table return a capsule from
// `__dlpack__`. https://dmlc.github.io/dlpack/latest/python_spec.html
#pragma once

#include <optional>

#include "python/gate.h"

namespace fusedstep::bind::dlpack {

constexpr std::int32_t cpu = 1;                                                            // DLDeviceType
constexpr std::uint8_t signed_int = 0, unsigned_int = 1, ieee_float = 2, brain_float = 4;  // DLDataTypeCode

struct Device {
  std::int32_t type, index;
};

struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t *shape, *strides;  // strides are numbers of items; null: C order
  std::uint64_t byte_offset;
};

/// Describes an object in `out`. The pointers in `out` point to memory of the object. If the function fails, it returns
/// a number other than 0 and sets a Python error.
using Describe = int (*)(void* object, Tensor* out);

/// The function with which a type describes its objects. Null if the type has no table of functions of major version 1.
Describe describe_of(py::handle type);

/// Describes a tensor in `view`. Returns false if kernels cannot read the tensor in place. The tensor must be in the
/// CPU's memory and aligned to the size of its items, and may have any strides.
bool look(const Tensor& t, View& view);
/// Like `look`, but also accepts uint8, int16 and int32, in which some states are stored.
bool look_at_stored(const Tensor& t, View& view);

bool is_empty(const Tensor& t);

/// The dtype of the tensor's items, or nothing if kernels do not support their type.
std::optional<DType> dtype_of(const Tensor& t);

/// The capsule that the object's `__dlpack__` returns. It describes the memory of the object. Raises if there is none.
py::object capsule_of(py::handle object, const Where& where);
/// Like `look`, for the tensor in a capsule.
bool look_at_capsule(PyObject* capsule, View& view);
/// True if the tensor in a capsule has elements of a known dtype on the CPU, but a null pointer instead of memory.
bool lacks_memory(PyObject* capsule);
/// A description of the object that returned the capsule, for example "float32 (3, 4) (a Tensor)".
std::string describe(py::handle capsule, py::handle object);

/// Raises if the numbers of a torch tensor differ from the numbers in its memory. This is so in a view that is negated
/// or conjugated lazily.
void require_plain_numbers(py::handle tensor, const Where& where);
/// If a torch tensor's storage is too small for the tensor, the size of the storage in bytes. Otherwise nothing.
std::optional<std::ptrdiff_t> lacking_storage(py::handle tensor, const View& view);

}  // namespace fusedstep::bind::dlpack
