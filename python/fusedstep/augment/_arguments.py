"""Checks of arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .._base.arrays import describe, is_base_ndarray

Array = npt.NDArray[Any]


def examples(call: str, name: str, x: object, axes: int = 1) -> Array:
    """Return x if it is an array of float32 or float64 with at least `axes` axes (1 or 3). Otherwise raise."""
    if not isinstance(x, np.ndarray) or not is_base_ndarray(x) or x.dtype.char not in "fd" or x.ndim < axes:
        shape = {1: "(n, ...)", 3: "(n, ..., height, width)"}[axes]
        raise ValueError(f"{call}: {name} must be float32 or float64 of shape {shape}; got {describe(x)}")
    return x
