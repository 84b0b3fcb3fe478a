"""Checks of whole numbers; each returns the value as an int."""

from __future__ import annotations

import operator
from typing import Any


def index(what: str, value: Any) -> int:
    """Return any whole number; True is none."""
    if isinstance(value, bool):
        raise TypeError(f"{what} must be a whole number; got {value!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{what} must be a whole number; got {value!r}") from None


def whole(what: str, value: Any, below: int) -> int:
    """Return a whole number of at least 0 and below `below`."""
    result = index(what, value)
    if not 0 <= result < below:
        power = below.bit_length() - 1
        limit = f"2**{power}" if below == 1 << power else str(below)
        raise ValueError(f"{what} must be at least 0 and below {limit}; got {value!r}")
    return result
