"""Arrays between sentinels, which are fixed numbers. A changed sentinel shows a write outside the arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .bits import Array


class Fenced:
    """Copies of arrays in one buffer, with sentinels around each copy.

    The address of each copy is a multiple of the item size, but not of 16 bytes.
    """

    SENTINEL = 12345.678

    def __init__(self, values: Sequence[Array]) -> None:
        dtype = values[0].dtype
        per_16 = 16 // dtype.itemsize
        self.buffer = np.full(sum(v.size + per_16 + 1 for v in values) + per_16, self.SENTINEL, dtype)
        self.outside = np.ones(self.buffer.size, bool)
        self.arrays: list[Array] = []
        base, at = self.buffer.ctypes.data // dtype.itemsize, 1
        for v in values:
            at += (base + at) % per_16 == 0
            self.buffer[at : at + v.size] = v
            self.arrays.append(self.buffer[at : at + v.size])
            self.outside[at : at + v.size] = False
            at += v.size + 1

    def check(self, what: Any) -> None:
        """Assert that all sentinels are unchanged."""
        assert (self.buffer[self.outside] == self.buffer.dtype.type(self.SENTINEL)).all(), what


def guarded(n: int, dtype: Any, start: int) -> tuple[Array, Array]:
    """Return an array of n elements, and the larger array that contains it. All elements are 7.5.

    The first array begins `start` elements after an address that is a multiple of 32 bytes.
    """
    size = np.dtype(dtype).itemsize
    memory = np.full(n + 128, 7.5, dtype)
    shift = -memory.ctypes.data % 64 // size + 16 + start
    return memory[shift : shift + n], memory


def untouched_around(out: Array, memory: Array) -> bool:
    """Return True if `memory` is unchanged outside `out`. Both arrays are from `guarded`."""
    begin = (out.ctypes.data - memory.ctypes.data) // memory.itemsize
    return bool((memory[:begin] == 7.5).all() and (memory[begin + out.size :] == 7.5).all())
