"""Random permutations, and random numbers with uniform and beta distributions. They depend only on key and index."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._base.checks import positive, whole_number
from .._base.random import key_of, offset_of, shape_of
from .noise import gaussian_noise
from .philox import Key

Array = NDArray[Any]

LONGEST = 2**31  # one call draws fewer numbers than this
#: A round accepts a proposed number with probability > 0.95. So the probability that all 64 rounds reject is < 1e-83.
_GAMMA_ROUNDS = 64


def uniform(shape: int | tuple[int, ...], key: Key, offset: int = 0) -> NDArray[np.float64]:
    r"""Return uniform random numbers in the open interval (0, 1), float64.

    A Philox block is four random words of 32 bits.

    ::

        u_i = (w_i + 1/2) / 2^32,    w_i = word (i mod 4) of Philox block i // 4

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the result.
    key : Key
        The key of the random numbers. Use a new key for every array, because the same key gives the same numbers.
    offset : int
        Index i of the first number, at least 0 and below 2**63. With `offset`, you can draw a part of a longer array.

    Returns
    -------
    array

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> u = fs.ops.uniform(1000, fs.Key(7))
    >>> bool(0 < u.min() < 0.01), bool(abs(u.mean() - 0.5) < 0.03)
    (True, True)
    >>> np.array_equal(fs.ops.uniform(10, fs.Key(7), offset=990), u[990:])
    True
    """
    call = "uniform"
    shape, key, offset = shape_of(call, shape), key_of(call, key), offset_of(call, offset)
    n = whole_number(f"{call}: the product of shape", math.prod(shape), LONGEST)
    return _uniform(key, offset, n).reshape(shape)


def _uniform(key: Key, first: int, n: int) -> NDArray[np.float64]:
    return np.multiply(_core.philox_words(key.seed, key.stream, first, n) + 0.5, 2.0**-32, dtype=np.float64)


def permutation(n: int, key: Key) -> NDArray[np.intp]:
    """Return the numbers 0 ... n - 1 in random order.

    The function draws n random 64-bit numbers, and returns the indices that sort them.

    Parameters
    ----------
    n : int
        At least 0 and below 2**30.
    key : Key
        The same key gives the same order.

    Returns
    -------
    array of intp, shape (n,)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import fusedstep as fs
    >>> sorted(fs.ops.permutation(5, fs.Key(7)).tolist())
    [0, 1, 2, 3, 4]
    """
    call = "permutation"
    n, key = whole_number(f"{call}: n", n, LONGEST // 2), key_of(call, key)
    low, high = _core.philox_words(key.seed, key.stream, 0, 2 * n).astype(np.uint64).reshape(n, 2).T
    return np.argsort(low | high << np.uint64(32), kind="stable")


def beta(n: int, a: float, b: float, key: Key, offset: int = 0) -> NDArray[np.float64]:
    r"""Return n random numbers x with the distribution Beta(a, b), float64.

    In the formula, G_a and G_b are random numbers of the gamma distributions with the shape parameters a and b.

    ::

        x = G_a / (G_a + G_b)

    Parameters
    ----------
    n : int
        Number of random numbers.
    a, b : float
        The parameters of the distribution, above 0.
    key : Key
        The same key gives the same numbers.
    offset : int
        Index of the first number in the key's sequence of numbers, at least 0 and below 2**62.

    Returns
    -------
    array, shape (n,)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Marsaglia and Tsang (2000). The computation uses logarithms, so that very small a and b do not give nan.

    Examples
    --------
    >>> import fusedstep as fs
    >>> x = fs.ops.beta(1000, 2.0, 6.0, fs.Key(7))
    >>> bool(abs(x.mean() - 0.25) < 0.02)
    True
    """
    call = "beta"
    n, key, offset = (
        whole_number(f"{call}: n", n, LONGEST // 2),
        key_of(call, key),
        whole_number(f"{call}: offset", offset, 2**62),
    )
    shapes = np.tile([positive(f"{call}: a", a), positive(f"{call}: b", b)], n)
    of_a, of_b = _log_gamma_variates(shapes, key, 2 * offset).reshape(n, 2).T
    with np.errstate(over="ignore"):  # exp(large) = inf, and 1 / (1 + inf) = 0 is right
        return 1.0 / (1.0 + np.exp(of_b - of_a))


def _log_gamma_variates(shape: Array, key: Key, first: int) -> NDArray[np.float64]:
    """Return ln G_s for each s in `shape`. G_s is a random number with the gamma distribution of shape s.

    For s >= 1, G_s = d v with d = s - 1/3 and v = (1 + z / sqrt(9 d))^3, where z is a normal random number. If a test
    with a uniform random number rejects z, both numbers are drawn again. For s < 1, G_s = G_(s+1) U^(1/s), where U is
    uniform.
    """
    n, small = len(shape), shape < 1.0
    d = shape + small - 1.0 / 3.0
    result, wanted = np.zeros(n), np.ones(n, bool)
    for attempt in range(_GAMMA_ROUNDS):
        z = gaussian_noise(n, 1.0, key.fold(2 * attempt), first, dtype=np.float64)
        u = _uniform(key.fold(2 * attempt + 1), first, n)
        root = 1.0 + z / np.sqrt(9.0 * d)
        log_v = 3.0 * np.log(np.maximum(root, np.finfo(np.float64).tiny))
        accepted = wanted & (root > 0) & (np.log(u) < 0.5 * z * z + d - d * root**3 + d * log_v)
        result[accepted] = (np.log(d) + log_v)[accepted]
        wanted &= ~accepted
        if not wanted.any():
            break
    return result + np.where(small, np.log(_uniform(key.fold(2 * _GAMMA_ROUNDS), first, n)) / shape, 0.0)
