"""DLPack descriptors, most of them wrong. A descriptor describes the memory of an array.

The fuzzer makes descriptors from bytes, and passes each to an optimizer's step as a gradient. If the step accepts a
descriptor, the step must give the same result as with the array that is described.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.lib.stride_tricks import as_strided

import fusedstep as fs

ARENA, AXES, CPU = 4096, 128, 1
KINDS = {(2, 16): np.float16, (2, 32): np.float32, (2, 64): np.float64, (4, 16): ml_dtypes.bfloat16}
# The array of a descriptor lies in an arena, a buffer of ARENA bytes. These fields define a descriptor: changes (a sum
# of the constants in the line below `HEADER`), major version, flags of DLPack, device, number of axes, code, bits and
# lanes of the type, offset in bytes, and start in the arena. After them, the bytes contain the shape and the strides.
# PLAIN: the descriptor has no version. ZERO: the step sets the gradient to zero. WIDE: the parameter is float64.
HEADER = struct.Struct("<BBBbbBBBHH")
PLAIN, NO_STRIDES, NO_DATA, OTHER_NAME, ZERO, WIDE, OTHER_DEVICE, NO_SHAPE = (1 << k for k in range(8))


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


class Managed(ctypes.Structure):
    _fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class Versioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", Tensor),
    ]  # fmt: skip


class Producer:
    """An object that can be passed as a gradient. Its DLPack descriptor is made from `data`."""

    def __init__(self, data: bytes, arena: np.ndarray[Any, Any]) -> None:
        data = data.ljust(HEADER.size + 4 * 8, b"\0")
        self.built, major, flags, device, ndim, code, bits, lanes, offset, start = HEADER.unpack_from(data)
        numbers = np.frombuffer(data[HEADER.size :][: (len(data) - HEADER.size) // 2 * 2], np.int16).astype(np.int64)
        self.axes = np.zeros((2, AXES), np.int64)
        self.axes[0, : min(max(ndim, 0), len(numbers))] = numbers[: max(ndim, 0)][:AXES]
        rest = numbers[max(ndim, 0) :][:AXES]
        self.axes[1, : len(rest)] = rest
        shape, strides = (row.ctypes.data_as(ctypes.POINTER(ctypes.c_int64)) for row in self.axes)
        self.start = start % ARENA
        tensor = Tensor(
            None if self.built & NO_DATA else arena.ctypes.data + self.start, device, 0, ndim, code, bits, lanes,
            None if self.built & NO_SHAPE else shape, None if self.built & NO_STRIDES else strides, offset,
        )  # fmt: skip
        self.tensor = tensor
        self.managed: Any = (
            Managed(tensor, None, None) if self.built & PLAIN else Versioned(major, 0, None, None, flags, tensor)
        )
        self.name = b"dltensor" if self.built & PLAIN else b"dltensor_versioned"

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2 if self.built & OTHER_DEVICE else self.tensor.device), 0

    def __dlpack__(self, max_version: Any = None) -> Any:
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        self.kept = b"used_dltensor" if self.built & OTHER_NAME else self.name
        return make(ctypes.addressof(self.managed), self.kept, None)

    def reading(self, arena: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any] | None:
        """Return the array that the descriptor describes, or None if it describes no array of the given shape.

        An array that reaches outside the arena raises a ValueError, because a step could not detect this fault.
        """
        t = self.tensor
        kind = KINDS.get((t.code, t.bits)) if t.lanes == 1 else None
        if kind is None or not 0 <= t.ndim <= AXES or tuple(self.axes[0, : t.ndim]) != shape:
            return None
        item, at = np.dtype(kind).itemsize, self.start + t.byte_offset
        c_order = [int(np.prod(shape[d + 1 :])) for d in range(t.ndim)]
        steps = c_order if self.built & NO_STRIDES else self.axes[1, : t.ndim].tolist()
        reach = [item * (n - 1) * s for n, s in zip(shape, steps, strict=True)]
        if at + sum(r for r in reach if r < 0) < 0 or at + sum(r for r in reach if r > 0) + item > ARENA:
            raise ValueError("the described array must lie inside the arena; got an array that reaches outside")
        if self.built & NO_DATA:
            return None
        return as_strided(arena[at : at + item].view(kind)[:1], shape, [item * s for s in steps])


def read_descriptor(path: Path) -> None:
    """Step with a gradient whose descriptor is made from the bytes of a file.

    If the step accepts the gradient, assert that the step used the numbers of the described array. Only a gradient that
    the step sets to zero may change, and no other byte of the arena.
    """
    data = path.read_bytes()
    arena = np.random.default_rng(0).integers(0, 256, ARENA + 64, np.uint8)
    arena = arena[-arena.ctypes.data % 64 :][:ARENA]
    producer = Producer(data, arena)
    wide = bool(producer.built & WIDE)
    p = np.zeros((2, 3), np.float64 if wide else np.float32)
    g = producer.reading(arena, p.shape)
    before = arena.copy()
    with np.errstate(all="ignore"):
        want = None if g is None else g.astype(p.dtype)
    fs.SGD([p], lr=1.0).step([producer], zero_grads=bool(producer.built & ZERO))
    assert g is not None and want is not None, "the step must refuse a descriptor that describes no suitable array"
    np.testing.assert_array_equal(p, 0 - want)
    if producer.built & ZERO:
        assert not g.any()
        at = g.__array_interface__["data"][0] - arena.ctypes.data
        as_strided(before[at : at + g.itemsize].view(g.dtype)[:1], g.shape, g.strides)[...] = 0
    np.testing.assert_array_equal(arena, before)


def described(built: int = 0, shape: Any = (2, 3), strides: Any = (3, 1), **lie: int) -> bytes:
    """Return the bytes of a descriptor: a float32 array in CPU memory, except for the fields that arguments replace.

    `built` is a sum of the constants from PLAIN to NO_SHAPE.
    """
    fields = {"major": 1, "flags": 0, "device": CPU, "ndim": len(shape), "code": 2, "bits": 32, "lanes": 1, "offset": 0}
    head = HEADER.pack(built, *{**fields, "start": 512, **lie}.values())
    return head + np.array([*shape, *strides], np.int16).tobytes()


#: Replaced fields of descriptors. Most of them are wrong, and some are unusual but valid.
LIES: tuple[dict[str, Any], ...] = (
    *({"major": n} for n in (0, 2, 255)),
    *({"device": n} for n in (0, 2, -1)),
    *({"code": n} for n in (0, 255)),
    *({"bits": n} for n in (8, 0, 64, 255)),
    *({"lanes": n} for n in (0, 4)),
    *({"offset": n} for n in (1, 4)),
    *({"strides": pair} for pair in ((-3, 1), (0, 0), (1, 1), (1, 2), (30000, 30000))),
    *({"shape": pair} for pair in ((3, 2), (2, -3), (0, 3))),
    *({"ndim": n} for n in (-1, 65, 127, 0)),
    {"start": 511},
    {"shape": (6,), "strides": (1,)},
    {"shape": (), "strides": ()},
)
BUILDS = (PLAIN, NO_STRIDES, NO_DATA, OTHER_NAME, ZERO, WIDE, OTHER_DEVICE, NO_SHAPE, PLAIN | ZERO, ZERO | NO_STRIDES)


def lying_descriptors() -> Iterator[bytes]:
    """Yield a correct descriptor first, and then changed descriptors, most of them wrong."""
    yield described()
    for built in BUILDS:
        yield described(built)
        yield described(built, flags=1, code=4, bits=16)
    for built in (0, ZERO, WIDE):
        yield from (described(built, **lie) for lie in LIES)
