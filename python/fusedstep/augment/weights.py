"""Noise on the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy.typing as npt

from .._base.checks import non_negative
from .._base.random import key_of
from .._base.weights import listed
from ..ops.noise import gaussian_noise
from ..ops.philox import Key

Array = npt.NDArray[Any]


@contextmanager
def weight_noise(params: Mapping[str, Array] | Sequence[Array], std: float, key: Key) -> Iterator[None]:
    r"""Add noise to the parameters inside a ``with`` block. At the end, restore them bit for bit.

    ::

        with weight_noise(params, std, key):       theta' = theta + std z,    z ~ N(0, 1)
            g = gradient of the loss at theta'
        opt.step(g)                                the step starts from theta, without noise

    Parameters
    ----------
    params : {name: array} or list of arrays
        The arrays have the dtype float32 or float64. For example, ``model.params``.
    std : float
        Standard deviation of the noise, at least 0.
    key : Key
        Draws the noise. The noise of array i, counted from 0, is drawn with ``key.fold(i)``. Use a new key for every
        step.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described. The parameters then do not change.

    Notes
    -----
    Sources: Murray and Edwards (1994); Graves (2011). On average, the noise has the same effect as a penalty on the
    curvature of the loss. So the training tends to find flat minima.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.ones(3)
    >>> with weight_noise([w], 0.1, fs.Key(7)):
    ...     changed = bool((w != 1).all())
    >>> changed, w
    (True, array([1., 1., 1.]))
    """
    call = "weight_noise"
    arrays, std, key = listed(call, params), non_negative(f"{call}: std", std), key_of(call, key)
    noisy = [gaussian_noise(array, std, key.fold(i)) for i, array in enumerate(arrays)]
    kept = [array.copy(order="K") for array in arrays]
    try:
        for array, other in zip(arrays, noisy, strict=True):
            array[...] = other
        yield
    finally:
        for array, before in zip(arrays, kept, strict=True):
            array[...] = before
