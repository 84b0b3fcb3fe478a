"""Copies of weights. The weights are a model with a ``state_dict``, a dict of arrays or a list of arrays."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .arrays import Array


@runtime_checkable
class Model(Protocol):
    """An object with weights that can be saved and restored."""

    def state_dict(self) -> Any:
        """Return all weights."""

    def load_state_dict(self, state: Any) -> Any:
        """Restore all weights."""


Weights = Model | Mapping[str, Array] | Sequence[Array]


def listed(call: str, params: object) -> list[Array]:
    """Return a list of the arrays. Refuse read-only arrays, and dtypes other than float32 and float64."""
    arrays = list(params.values()) if isinstance(params, Mapping) else params
    if not isinstance(arrays, (list, tuple)):
        raise TypeError(f"{call}: params must be a list or a dict of arrays; got {type(params).__name__}")
    for i, array in enumerate(arrays):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{call}: params[{i}] must be an array; got {type(array).__name__}")
        if array.dtype.char not in "fd" or not array.flags.writeable:
            kind = array.dtype if array.flags.writeable else f"read-only {array.dtype}"
            raise ValueError(f"{call}: params[{i}] must be writeable and have dtype float32 or float64; got {kind}")
    return list(arrays)


def copies(call: str, weights: Weights) -> Any:
    """Return copies of weights. `put_back` writes them back."""
    if isinstance(weights, Model):
        return copy.deepcopy(weights.state_dict())  # a state_dict of torch contains the weights themselves, not copies
    return [array.copy(order="K") for array in listed(call, weights)]


def put_back(call: str, weights: Weights, kept: Any) -> None:
    """Write copies back into the weights from which they were made, in place."""
    if isinstance(weights, Model):
        weights.load_state_dict(kept)
        return
    for array, before in zip(listed(call, weights), kept, strict=True):
        array[...] = before
