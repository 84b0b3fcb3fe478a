"""Arrays between sentinels. A changed sentinel shows that something was written outside the arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .bits import Array


class Fenced:
    """Copies of arrays in one buffer, with sentinels around each copy.

    The addresses are multiples of the item size, but not of 16 bytes.
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
    """Return an array of n elements that begins `start` elements after a multiple of 64 bytes, and its whole buffer."""
    size = np.dtype(dtype).itemsize
    memory = np.full(n + 128, 7.5, dtype)
    shift = -memory.ctypes.data % 64 // size + 16 + start
    return memory[shift : shift + n], memory


def untouched_around(out: Array, memory: Array) -> bool:
    """Return True if the memory around an array from `guarded` is unchanged."""
    begin = (out.ctypes.data - memory.ctypes.data) // memory.itemsize
    return bool((memory[:begin] == 7.5).all() and (memory[begin + out.size :] == 7.5).all())
