"""Memory at multiples of 64 bytes: arenas for parameters and states, reused buffers for activations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import Array, Shape

ALIGNMENT = 64  # bytes: a cache line and the widest vector register; NumPy itself promises 16
KEPT_SHAPES = 8  # training, its last short batch, validation, test, and some to spare


def aligned_zeros(size: int, dtype: npt.DTypeLike) -> Array:
    """Make a flat array of zeros that starts on a cache line."""
    nbytes = size * np.dtype(dtype).itemsize
    raw = np.zeros(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes].view(dtype)


def zeros_like(arrays: Sequence[Array], dtypes: Sequence[np.dtype[Any]] | None = None) -> list[Array]:
    """Return zeroed arrays of the same shapes and orders of axes: one block, each at a multiple of 64 bytes.

    The arrays are dense. The dtypes are theirs unless others are given.
    """
    dtypes = [a.dtype for a in arrays] if dtypes is None else dtypes
    offsets = [0]
    for a, dtype in zip(arrays, dtypes, strict=True):
        offsets.append(offsets[-1] + math.ceil(a.size * dtype.itemsize / ALIGNMENT) * ALIGNMENT)
    block = aligned_zeros(offsets[-1], np.uint8)
    return [
        np.ndarray(a.shape, d, block, at, [s // a.itemsize * d.itemsize for s in a.strides] if a.size else None)
        for a, d, at in zip(arrays, dtypes, offsets, strict=False)
    ]


def copies_of(arrays: Sequence[Array], dtypes: Sequence[np.dtype[Any]] | None = None) -> list[Array]:
    """Return copies of the same shapes and orders of axes, and dtypes unless others are given."""
    copies = zeros_like(arrays, dtypes)
    for copy, array in zip(copies, arrays, strict=True):
        copy[...] = array
    return copies


def averages_of(arrays: Sequence[Array]) -> list[Array]:
    """Return copies for averages, in float32 for 16-bit arrays, in which small changes would be lost."""
    return copies_of(arrays, [np.dtype(np.float32) if a.itemsize == 2 else a.dtype for a in arrays])


def in_dtypes_of(arrays: Sequence[Array], values: Sequence[Array]) -> list[Array]:
    """Return each value if it has its array's dtype, else a copy of it that does."""
    return [v if v.dtype == a.dtype else copies_of([v], [a.dtype])[0] for a, v in zip(arrays, values, strict=True)]


def carve(arena: Array, shapes: Mapping[str, Shape]) -> dict[str, Array]:
    """Cut views of consecutive pieces of ``arena``, one per name, in order and without gaps."""
    views, start = {}, 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape)
        views[name] = arena[start:stop].reshape(shape)
        start = stop
    return views


class Buffers(dict[Shape, Array]):
    """Scratch memory by shape: ``buffers[shape]`` is the same array every time.

    Made on first use and kept for the last few shapes, so that a training loop allocates nothing after its
    first epoch and a thousand odd batch sizes do not fill the memory.
    """

    def __init__(self, dtype: npt.DTypeLike, fill: float = 0.0) -> None:
        super().__init__()
        self._dtype, self._fill = np.dtype(dtype), fill

    def __missing__(self, shape: Shape) -> Array:
        if len(self) >= KEPT_SHAPES:
            del self[next(iter(self))]
        made = aligned_zeros(math.prod(shape), self._dtype).reshape(shape)
        if self._fill:
            made.fill(self._fill)
        self[shape] = made
        return made
