"""Memory at multiples of 64 bytes: arenas for what is trained and its state, reused buffers for what flows through."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

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


def zeros_like(arrays: Sequence[Array]) -> list[Array]:
    """Return zeroed arrays of the same shapes, dtypes and orders of axes: one block, each at a multiple of 64 bytes."""
    offsets = [0]
    for a in arrays:
        offsets.append(offsets[-1] + math.ceil(a.nbytes / ALIGNMENT) * ALIGNMENT)
    block = aligned_zeros(offsets[-1], np.uint8)
    return [
        np.ndarray(a.shape, a.dtype, block, at, a.strides if a.size else None)
        for a, at in zip(arrays, offsets, strict=False)
    ]


def copies_of(arrays: Sequence[Array]) -> list[Array]:
    """Return copies of the same shapes, dtypes and orders of axes."""
    copies = zeros_like(arrays)
    for copy, array in zip(copies, arrays, strict=True):
        copy[...] = array
    return copies


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
