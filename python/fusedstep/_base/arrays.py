"""Checks of arrays, descriptions for error messages, and the assignment of several arrays at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]


def is_base_ndarray(x: object) -> bool:
    """Return True for a plain NumPy array or a memory map. Return False for other subclasses and other objects."""
    return type(x) is np.ndarray or isinstance(x, np.memmap)


def describe(x: object) -> str:
    """Describe an argument for an error message: an array by its dtype and shape, another object by its type."""
    if not isinstance(x, np.ndarray):
        return type(x).__name__
    kind = "" if is_base_ndarray(x) else f"{type(x).__name__} of "
    return f"{kind}{x.dtype} {x.shape}"


def float_dtype(owner: str, dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return `dtype` as a NumPy dtype. Refuse dtypes other than float32 and float64, and other byte orders."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{owner}: dtype must be float32 or float64; got {dtype!r}") from None
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"{owner}: dtype must be float32 or float64; got {found}")
    return found


def real_numbers(what: str, value: Any) -> Array:
    """Return ``np.asarray(value)``. Refuse masked arrays, and elements that are not real numbers.

    `what` is the beginning of the error message, including the verb: for example, "average: outputs[0] must be".
    """
    found = np.asarray(value)
    masked = isinstance(value, np.ma.MaskedArray)
    if found.dtype.kind not in "biuf" or masked:
        need, kind = "an array of numbers without a mask" if masked else "numbers", type(value).__name__
        raise TypeError(f"{what} {need}; got {kind} of dtype {found.dtype} and shape {found.shape}")
    return found


def axes_of(a: Array) -> list[int]:
    """Return the axes of an array without gaps, from the largest stride to the smallest. Axes of length 1 are last."""
    return sorted(range(a.ndim), key=lambda d: (a.shape[d] == 1, -a.strides[d], d))


def flat(a: Array) -> Array:
    """Return a flat array with the elements of an array without gaps, in the order of its memory."""
    return a.transpose(axes_of(a)).ravel()


def shaped(elements: Array, like: Array) -> Array:
    """Return an array with the shape and the memory order of `like`.

    The flat array `elements` contains the elements of the result in this memory order.
    """
    axes = axes_of(like)
    return elements.reshape([like.shape[d] for d in axes]).transpose(np.argsort(axes)) if axes else elements.reshape(())


def assign(pairs: Sequence[tuple[Array, Array]]) -> None:
    """Do ``target[...] = source`` for all pairs. Sources that may share memory with any target are copied first."""
    written = {_owner(target) for target, _ in pairs}
    apart = [(target, source.copy() if _owner(source) in written else source) for target, source in pairs]
    for target, source in apart:
        target[...] = source


def _owner(array: Array) -> int:
    """Return the id of the object that owns an array's memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return id(array if array.base is None else array.base)
