"""What the tests of dropout and noise share: machines, guarded memory, special values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fusedstep as fs
from fusedstep import _core

Array = NDArray[Any]
KEY = fs.Key(0x0123456789ABCDEF, 0xFEDCBA9876543210)
DTYPES = [np.float32, np.float64]


def machines(threads: tuple[int, ...] = (1, 2, 4)) -> Iterator[str]:
    """Every instruction set, back end and number of threads."""
    for isa, backend, n in itertools.product(_core.available_isas(), ("openmp", "threads"), threads):
        _core.set_isa(isa)
        try:
            _core.set_backend(backend)
        except ValueError:
            continue  # no libgomp here
        _core.force_threads(n)
        yield f"{isa}, {backend}, {n} threads"


def same_bits(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def guarded(n: int, dtype: Any, start: int) -> tuple[Array, Array]:
    """Return an array of n elements, `start` elements after a boundary of 64 bytes, and all the memory around it."""
    size = np.dtype(dtype).itemsize
    memory = np.full(n + 128, 7.5, dtype)
    shift = -memory.ctypes.data % 64 // size + 16 + start
    return memory[shift : shift + n], memory


def untouched_around(out: Array, memory: Array) -> bool:
    begin = (out.ctypes.data - memory.ctypes.data) // memory.itemsize
    return bool((memory[:begin] == 7.5).all() and (memory[begin + out.size :] == 7.5).all())


def values(n: int, dtype: Any) -> Array:
    """Numbers with every special value among them."""
    x = np.random.default_rng(3).standard_normal(n).astype(dtype)
    x[::17], x[1::19], x[2::23], x[3::29] = np.inf, np.nan, -np.inf, -0.0
    return x
