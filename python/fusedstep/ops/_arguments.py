"""Checks of the arguments that these functions share; each returns the value in its plain form."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..optim._checks import up_to_one
from ._whole import index, whole
from .philox import Key

#: Random halves have 16 bits: probabilities are multiples of 1 / STEPS.
STEPS = 65536
LARGEST = 2**31


def axis_of(call: str, axis: Any) -> int:
    """Return the number of an axis, perhaps of none: what fits no array need not fit a C integer."""
    return max(-LARGEST, min(index(f"{call}: axis", axis), LARGEST))


def offset_of(call: str, offset: Any) -> int:
    """Return the index of the first element."""
    if type(offset) is int and 0 <= offset < 2**63:
        return offset
    return whole(f"{call}: offset", offset, 2**63)


def shape_of(call: str, shape: Any) -> tuple[int, ...]:
    """Return a shape, given as one or as a whole number."""
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    return tuple(whole(f"{call}: shape[{k}]", size, 2**63) for k, size in enumerate(sizes))


def key_of(call: str, key: Any) -> Key:
    """Return the key, or say how to get one."""
    if not isinstance(key, Key):
        raise TypeError(f"{call}: key must be a Key (from Philox(seed).key()); got {type(key).__name__}")
    return key


def threshold_of(call: str, p: Any) -> int:
    """Return how many of the STEPS values of a random half mean that an element is dropped."""
    if not (type(p) is float and 0.0 <= p <= 1.0):
        p = up_to_one(f"{call}: p", p)
    return round(STEPS * p)


def real_numbers(what: str, value: Any) -> NDArray[Any]:
    """Return an array of real numbers, as it is; `what` ends in the verb."""
    found = np.asarray(value)
    if found.dtype.kind not in "biuf" or isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{what} numbers; got {type(value).__name__} {found.dtype} {found.shape}")
    return found
