"""Monte Carlo dropout: mean and variance of outputs over random masks. The outputs are not stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._base.arrays import real_numbers
from .._base.checks import whole_number
from .._base.random import key_of
from .philox import Key


class Moments(NamedTuple):
    """Mean and variance of several outputs, for example of a network with different dropout masks.

    Attributes
    ----------
    mean, variance : ndarray of float64
        Mean and variance of each element of the output.
    draws : int
        Number of outputs.
    """

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    draws: int


def dropout_moments(f: Callable[[Key], Any], k: int, key: Key, *, ddof: int = 0) -> Moments:
    r"""Run a network k times with different dropout masks, and return mean and variance of each element of its output.

    ::

        y_j = f(key.fold(j)),  j = 0 ... k-1
        mean = sum(y_j) / k,   variance = sum((y_j - mean)^2) / (k - ddof)

    Parameters
    ----------
    f : function of a Key
        Runs the network with this key, and returns the output: a number, or an array that has the same shape in every
        call. If the network has several dropout layers, give each layer its own key: ``key.fold(layer)``.
    k : int
        Number of runs. It must be greater than `ddof`.
    key : Key
        f gets the keys ``key.fold(0)``, ``key.fold(1)`` ...
    ddof : int
        The divisor of the variance is k - ddof.

    Returns
    -------
    Moments
        ``mean`` and ``variance`` are float64 arrays with the shape of the output, and ``draws`` is k. The k outputs are
        not stored.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or an output's shape differs from the shape of the first output.

    Notes
    -----
    Gal and Ghahramani (2016), "Dropout as a Bayesian approximation". The variance does not include the constant noise
    term of this paper. The method of Welford (1962) computes the variance precisely, even if it is much smaller than
    the mean.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> x = np.arange(4.0)
    >>> m = fs.dropout_moments(lambda key: fs.dropout(x, 0.5, key), 1000, fs.Key(7))
    >>> bool(np.allclose(m.mean, x, atol=0.3)), bool(np.allclose(m.variance, x**2, atol=0.3))
    (True, True)
    """
    call = "dropout_moments"
    if not callable(f):
        raise TypeError(f"{call}: f must be a function of a Key; got {type(f).__name__}")
    ddof = whole_number(f"{call}: ddof", ddof, 2**31)
    k = whole_number(f"{call}: k", k, 2**63)
    if k <= ddof:
        raise ValueError(f"{call}: k must be at least {ddof + 1}; got {k}")
    key = key_of(call, key)
    mean, squares = deviations(f"{call}: f", (f(key.fold(j)) for j in range(k)))
    return Moments(mean, squares / (k - ddof), k)


def deviations(what: str, draws: Iterable[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the elementwise mean of the arrays `draws`, and the elementwise sum of squared deviations from it.

    `draws` may be an iterator, and must give at least one array. Error messages name `what` as the source of `draws`.
    """
    mean = squares = np.empty(0)
    for j, draw in enumerate(draws):
        y = real_numbers(f"{what} must return", draw)
        if j == 0:
            mean, squares = np.array(y, np.float64), np.zeros(y.shape)
            continue
        if y.shape != mean.shape:
            raise ValueError(f"{what} must return shape {mean.shape} every time; got {y.shape} at index {j}")
        delta = y - mean
        mean += delta / (j + 1)
        squares += delta * (y - mean)
    return mean, squares
