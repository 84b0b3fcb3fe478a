"""Arguments that an optimizer must refuse, and a check of error messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from .bits import Array

HUGE = 10**400  # an integer above the largest float64


def ones(*shape: int, dtype: Any = np.float32) -> Array:
    """Return ones of this shape."""
    return np.ones(shape, dtype)


def read_only() -> Array:
    """Return a read-only array."""
    a = ones(3)
    a.flags.writeable = False
    return a


def misaligned() -> Array:
    """Return an array at a misaligned address."""
    return np.zeros(13, np.uint8)[1:].view(np.float32)


# Objects that cannot be parameters. Each entry is (function that returns the object, type of the error, what the error
# says that a parameter must be, how the error describes the object).
NO_PARAMETERS: dict[str, tuple[Callable[[], Any], type[Exception], str, str]] = {
    "list": (lambda: [1.0, 2.0], TypeError, "numpy.ndarray", "list"),
    "float": (lambda: 1.0, TypeError, "numpy.ndarray", "float"),
    "none": (lambda: None, TypeError, "numpy.ndarray", "NoneType"),
    "scalar": (lambda: np.float32(1), TypeError, "numpy.ndarray", "NumPy scalar float32"),
    "masked": (lambda: np.ma.masked_array(ones(3)), TypeError, "numpy.ndarray", "MaskedArray"),
    "matrix": (lambda: np.ones((2, 2)).view(np.matrix), TypeError, "numpy.ndarray", "matrix"),
    "longdouble": (lambda: ones(3, dtype=np.longdouble), TypeError, "native byte order", "float128 (3,)"),
    "int": (lambda: ones(3, dtype="i4"), TypeError, "native byte order", "int32 (3,)"),
    "bool": (lambda: ones(3, dtype="?"), TypeError, "native byte order", "bool (3,)"),
    "complex": (lambda: ones(3, dtype="c8"), TypeError, "native byte order", "complex64 (3,)"),
    "object": (lambda: ones(3, dtype="O"), TypeError, "native byte order", "object (3,)"),
    "record": (lambda: np.zeros(3, [("x", "f4")]), TypeError, "native byte order", "(3,)"),
    "other byte order": (lambda: ones(3, dtype=">f4"), TypeError, "native byte order", ">f4 (3,)"),
    "misaligned": (misaligned, ValueError, "aligned to 4 bytes, the size of its items", "misaligned float32 (3,)"),
    "read-only": (read_only, ValueError, "writeable", "read-only float32 (3,)"),
    "bytes": (lambda: np.frombuffer(b"12345678", "f4"), ValueError, "writeable", "read-only float32 (2,)"),
    "broadcast": (lambda: as_strided(ones(1), (3,), (0,)), ValueError, "dense", "float32 (3,) with strides (0,)"),
    "overlapping": (lambda: as_strided(ones(9), (4, 4), (8, 4)), ValueError, "dense", "strides (8, 4)"),
    "gaps": (lambda: ones(6)[::2], ValueError, "dense", "float32 (3,) with strides (8,)"),
    "backwards": (lambda: ones(3)[::-1], ValueError, "dense", "strides (-4,)"),
    "columns": (lambda: ones(4, 4)[:, :2], ValueError, "dense", "float32 (4, 2) with strides (16, 4)"),
}


@contextmanager
def assert_refused(error: type[Exception], *words: str) -> Iterator[None]:
    """Assert that the `with` block raises an error of exactly this type.

    The error's message must be one line of fewer than 300 characters, and must contain all `words`.
    """
    with pytest.raises(error) as caught:
        yield
    assert type(caught.value) is error
    message = str(caught.value)
    assert [w for w in words if w not in message] == [], message
    assert "\n" not in message and len(message) < 300, message
