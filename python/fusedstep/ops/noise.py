"""Gaussian noise. Every number is a function of the key and the index."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import _core
from .._base.checks import non_negative
from .._base.random import key_of, offset_of, shape_of
from .philox import Key

Array = NDArray[Any]


def gaussian_noise(
    x: Array | int | tuple[int, ...],
    std: float,
    key: Key,
    offset: int = 0,
    out: Array | None = None,
    *,
    dtype: DTypeLike = np.float32,
) -> Array:
    r"""Add normal noise with mean 0 to an array x. If x is a shape, return an array of noise.

    A Philox block is four random words of 32 bits.

    ::

        y_i = x_i + std * z_i
        z_(2j) = sqrt(-2 ln u) cos v,    z_(2j+1) = sqrt(-2 ln u) sin v
        u = (w_(2j) + 1/2) / 2^32,       v = 2 pi w_(2j+1) / 2^32,       w_i = word (i mod 4) of Philox block i // 4

    The index j is 0, 1, 2 and so on. If x is a shape, y_i is std * z_i.

    Parameters
    ----------
    x : array (float32 or float64), int or tuple of int
        The array to which noise is added, or the shape of the returned noise.
    std : float
        Standard deviation of the noise, at least 0.
    key : Key
        The key of the random numbers. Use a new key for every call, because the same key gives the same numbers.
    offset : int
        Index i of the first element of the result, at least 0 and below 2**63. Elements are counted in C
        order, for any layout in memory.
    out : array, optional
        The array for the result, with x's shape and dtype. It must be x itself (in place), or share no memory with x.
        If x is a shape, `out` must be None.
    dtype : dtype
        The dtype of the result if x is a shape: float32 or float64.

    Returns
    -------
    array
        `out` if it was given, else a new array in C order.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described. The message says which argument is wrong, what it must be and what it was.
        If an error is raised, no array has changed.

    Notes
    -----
    Box and Muller (1958). This package computes the logarithm, sine and cosine by its own series, so that the bits are
    the same on every machine. u has 32 random bits for both dtypes. So the largest absolute value of z is 6.8, and a
    key gives the same noise in both dtypes, with more digits in float64. Each number is a function of the key and the
    index. So you can draw a part of a longer array. ``torch.randn`` cannot do this.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> key = fs.Philox(7).key()
    >>> z = fs.gaussian_noise(1000, 1.0, key)
    >>> bool(abs(z.mean()) < 0.1), bool(abs(z.std() - 1) < 0.1)
    (True, True)
    >>> np.array_equal(fs.gaussian_noise(z[10:] * 0, 1.0, key, offset=10), z[10:])
    True
    """
    call = "gaussian_noise"
    std, key, offset = non_negative(f"{call}: std", std), key_of(call, key), offset_of(call, offset)
    if not isinstance(x, (int, np.integer, tuple, list)):
        return _core.noise(call, x, out, std, key.seed, key.stream, offset)
    if out is not None:
        raise TypeError(f"{call}: out must be None if x is a shape; got {type(out).__name__}")
    return _core.normal(shape_of(call, x), _is_double(call, dtype), std, key.seed, key.stream, offset)


def _is_double(call: str, dtype: Any) -> bool:
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{call}: dtype must be float32 or float64; got {dtype!r}") from None
    if found not in (np.float32, np.float64):
        raise TypeError(f"{call}: dtype must be float32 or float64; got {found}")
    return found == np.float64
