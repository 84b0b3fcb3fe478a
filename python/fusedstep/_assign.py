"""Many arrays written at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def assign(pairs: Sequence[tuple[Array, Array]]) -> None:
    """``target[...] = source`` for all pairs, as if all sources were read first: they may be the targets, exchanged."""
    written = {_owner(target) for target, _ in pairs}
    apart = [(target, source.copy() if _owner(source) in written else source) for target, source in pairs]
    for target, source in apart:
        target[...] = source


def _owner(array: Array) -> int:
    """Name the object whose memory an array shows."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return id(array if array.base is None else array.base)
