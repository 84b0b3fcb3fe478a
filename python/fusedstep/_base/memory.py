"""Memory aligned to 64 bytes: blocks that contain several parameters or states, and reused buffers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .arrays import Array, Shape

ALIGNMENT = 64  # bytes of a cache line and of the widest vector register; NumPy aligns to 16
KEPT_SHAPES = 8  # enough for the batches of training, the shorter last batch, validation, test and four more


def aligned_zeros(size: int, dtype: npt.DTypeLike) -> Array:
    """Return a flat array of zeros that starts on a cache line."""
    nbytes = size * np.dtype(dtype).itemsize
    raw = np.zeros(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes].view(dtype)


def zeros_like(arrays: Sequence[Array], dtypes: Sequence[np.dtype[Any]] | None = None) -> list[Array]:
    """Return arrays of zeros with the shapes and memory orders of the given arrays.

    The new arrays are in one block of memory, and each is aligned to 64 bytes. The given arrays must have no gaps in
    memory. If `dtypes` is None, the new arrays have the dtypes of the given arrays.
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
    """Return copies with the same shapes and memory orders, in the given dtypes or by default in the same dtypes."""
    copies = zeros_like(arrays, dtypes)
    for copy, array in zip(copies, arrays, strict=True):
        copy[...] = array
    return copies


def averages_of(arrays: Sequence[Array]) -> list[Array]:
    """Return copies of parameters. The copies are the initial values of running averages of the parameters.

    Copies of 16-bit arrays are float32, because 16 bits would lose small changes of the averages.
    """
    return copies_of(arrays, [np.dtype(np.float32) if a.itemsize == 2 else a.dtype for a in arrays])


def in_dtypes_of(arrays: Sequence[Array], values: Sequence[Array]) -> list[Array]:
    """Return `values`, with ``values[k]`` in the dtype of ``arrays[k]``. It is copied only if its dtype must change."""
    return [v if v.dtype == a.dtype else copies_of([v], [a.dtype])[0] for a, v in zip(arrays, values, strict=True)]


def carve(arena: Array, shapes: Mapping[str, Shape]) -> dict[str, Array]:
    """Return a view of the flat array `arena` for each name and shape. The views follow each other without gaps."""
    views, start = {}, 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape)
        views[name] = arena[start:stop].reshape(shape)
        start = stop
    return views


class Buffers(dict[Shape, Array]):
    """Temporary arrays by shape: ``buffers[shape]`` is the same array every time.

    An array is created when its shape is first used. If there are already 8 arrays, the oldest one is removed. So a
    training loop with at most 8 shapes allocates nothing after its first epoch, and many different batch sizes do not
    fill the memory.
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
