// The part of DLPack 1.3's binary interface that reads a tensor in place: a type offers a table of functions in a
// capsule, `__dlpack_c_exchange_api__`; one of them describes an object of the type without taking a reference. What
// lacks the table gives a capsule.
// https://dmlc.github.io/dlpack/latest/python_spec.html
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
  std::int64_t *shape, *strides;  // strides count items; null: C order
  std::uint64_t byte_offset;
};

/// Fills in a tensor whose pointers are the object's own; not zero, and a Python error, if that cannot be had.
using Describe = int (*)(void* object, Tensor* out);

/// The function of a type that offers the interface; null if it offers none that is known here.
Describe describe_of(py::handle type);

/// Describes what kernels can read as it lies: dense or strided, in the CPU's memory, aligned to its item.
bool look(const Tensor& t, View& view);
/// The same, also of the integers that narrow states are kept in.
bool look_at_stored(const Tensor& t, View& view);

bool is_empty(const Tensor& t);

/// What kernels compute with; none for other types.
std::optional<DType> dtype_of(const Tensor& t);

/// The capsule that an object gives of its memory, kept with it; raises if it gives none.
py::object capsule_of(py::handle object, const Where& where);
bool look_at_capsule(PyObject* capsule, View& view);
/// "float32 (3, 4)", of the object that gave the capsule.
std::string describe(py::handle capsule, py::handle object);

/// Raises if a torch tensor means other numbers than lie in its memory.
void require_plain_numbers(py::handle tensor, const Where& where);
/// How many bytes a torch tensor's storage has, if they do not hold all of the tensor.
std::optional<std::ptrdiff_t> lacking_storage(py::handle tensor, const View& view);

}  // namespace fusedstep::bind::dlpack
