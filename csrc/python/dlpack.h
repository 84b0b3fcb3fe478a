// The part of DLPack 1.3's binary interface that reads a tensor in place: a type offers a table of functions in a
// capsule, `__dlpack_c_exchange_api__`; one of them describes an object of the type without taking a reference.
// https://dmlc.github.io/dlpack/latest/python_spec.html
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

namespace fusedstep::bind::dlpack {

namespace py = pybind11;

constexpr std::int32_t cpu = 1;                          // DLDeviceType
constexpr std::uint8_t ieee_float = 2, brain_float = 4;  // DLDataTypeCode

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
  std::int64_t *shape, *strides;  // strides count items
  std::uint64_t byte_offset;
};

/// Fills in a tensor whose pointers are the object's own; not zero, and a Python error, if that cannot be had.
using Describe = int (*)(void* object, Tensor* out);

struct ExchangeApi {
  std::uint32_t major, minor;
  ExchangeApi* older;
  void (*allocate)();
  void (*to_managed)();
  void (*from_managed)();
  Describe describe;  // or null
  void (*stream)();
};

/// The function of a type that offers the interface; null if it offers none that is known here.
inline Describe describe_of(py::handle type) {
  const py::object capsule = py::getattr(type, "__dlpack_c_exchange_api__", py::none());
  if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return nullptr;
  auto* api = static_cast<ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  while (api && api->major != 1) api = api->older;
  return api ? api->describe : nullptr;
}

}  // namespace fusedstep::bind::dlpack
