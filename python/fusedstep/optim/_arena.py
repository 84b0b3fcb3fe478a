"""Memory for state: one block for many arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ._params import Array

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector


def allocate_like(arrays: Sequence[Array]) -> list[Array]:
    """Return zeroed arrays of the same shapes, dtypes and orders of axes, each at a multiple of 64 bytes."""
    offsets = [0]
    for a in arrays:
        offsets.append(offsets[-1] + math.ceil(a.nbytes / _ALIGNMENT) * _ALIGNMENT)
    block = np.zeros(offsets[-1] + _ALIGNMENT, np.uint8)
    start = -block.ctypes.data % _ALIGNMENT
    return [
        np.ndarray(a.shape, a.dtype, block, start + at, a.strides if a.size else None)
        for a, at in zip(arrays, offsets, strict=False)
    ]


def copies_of(arrays: Sequence[Array]) -> list[Array]:
    """Return copies of the same shapes, dtypes and orders of axes."""
    copies = allocate_like(arrays)
    for copy, array in zip(copies, arrays, strict=True):
        copy[...] = array
    return copies
