// The part of DLPack 1.3's binary interface that reads a tensor in place. A type can offer a table of functions in a
// capsule, `__dlpack_c_exchange_api__`; one of them describes an object of the type without taking a reference. Objects
// of other types give a capsule.
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

/// Fills in a tensor, whose pointers belong to the object. If it cannot, it returns nonzero and sets a Python error.
using Describe = int (*)(void* object, Tensor* out);

/// The describing function of a type; null if the type does not offer the interface or offers another version of it.
Describe describe_of(py::handle type);

/// Describes a tensor that kernels can read in place: in the CPU's memory, aligned to its item, with any strides.
bool look(const Tensor& t, View& view);
/// The same, but also accepts the integers of narrow states.
bool look_at_stored(const Tensor& t, View& view);

bool is_empty(const Tensor& t);

/// The dtype in which the kernels know the items; none for other types.
std::optional<DType> dtype_of(const Tensor& t);

/// The capsule that describes an object's memory, stored together with the object. Raises if the object gives none.
py::object capsule_of(py::handle object, const Where& where);
bool look_at_capsule(PyObject* capsule, View& view);
/// "float32 (3, 4)", for the object that gave the capsule.
std::string describe(py::handle capsule, py::handle object);

/// Raises if the numbers of a torch tensor differ from those in its memory, as in a lazily negated view.
void require_plain_numbers(py::handle tensor, const Where& where);
/// The bytes of a torch tensor's storage if they are too few for the tensor; else nothing.
std::optional<std::ptrdiff_t> lacking_storage(py::handle tensor, const View& view);

}  // namespace fusedstep::bind::dlpack
