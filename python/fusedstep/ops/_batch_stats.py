"""Mean and variance per channel over several arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from .._base.checks import axis_of

Array = np.ndarray[Any, Any]


class BatchStats:
    r"""Count, mean and sum of squared deviations per channel over several arrays.

    M2 is the sum of squared deviations from the mean. Two sets a and b with n_a and n_b values are merged as follows:

    ::

        delta = mean_b - mean_a                      n = n_a + n_b
        mean  = mean_a + delta * n_b / n             M2 = M2_a + M2_b + delta^2 * n_a * n_b / n

    Use this class for the statistics of several mini-batches, for example with gradient accumulation, or of a
    memory-mapped file that is larger than the memory. Objects of this class can be pickled. So you can also merge the
    statistics of several processes.

    Notes
    -----
    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979). The
    results equal the results for one array with all values, up to rounding in float64. Without `merge`, even
    the bits are equal if each array except the last has a multiple of 1,024 values per channel.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> stats = fs.BatchStats()
    >>> for part in np.arange(12.0).reshape(3, 2, 2):
    ...     stats.update(part)
    >>> stats.count, stats.mean
    (6, array([5., 6.]))
    >>> stats.var()
    array([11.66666667, 11.66666667])
    """

    __slots__ = ("_moments",)

    def __init__(self) -> None:
        self._moments = _core.ChannelMoments()

    def update(self, x: Array, axis: int = 1) -> None:
        """Add the values of an array to the statistics.

        Parameters
        ----------
        x : ndarray of float32, float64, float16 or bfloat16, at least 2 axes
            A C-contiguous array. It may be a `numpy.memmap`.
        axis : int
            The axis of the channels.

        Raises
        ------
        TypeError, ValueError
            If x is empty, if an argument is not as described, or if x and the earlier arrays have different numbers of
            channels.
        """
        self._moments.update(x, axis_of("BatchStats.update", axis))

    def merge(self, other: BatchStats) -> None:
        """Add the statistics of `other` to this object. `other` does not change.

        Raises
        ------
        TypeError, ValueError
            If `other` is not a BatchStats, or its number of channels differs from that of this object.
        """
        if not isinstance(other, BatchStats):
            raise TypeError(f"BatchStats.merge: other must be a BatchStats; got {type(other).__name__}")
        self._moments.merge(other._moments)

    @property
    def count(self) -> int:
        """Number of values per channel so far."""
        return self._moments.count

    @property
    def mean(self) -> Array:
        """Mean per channel: float64 of shape (C,), where C is the number of channels. It is empty before `update`."""
        return self._moments.mean

    @property
    def m2(self) -> Array:
        """Sum of squared deviations from the mean per channel: float64 of shape (C,)."""
        return self._moments.m2

    def var(self, unbiased: bool = False) -> Array:
        """Return the variance per channel.

        Parameters
        ----------
        unbiased : bool
            True divides by count - 1, False by count.

        Raises
        ------
        ValueError
            If the divisor is not above 0.
        """
        least = 2 if unbiased else 1
        if self.count < least:
            raise ValueError(f"BatchStats.var: count must be at least {least}; got {self.count}")
        return self.m2 / (self.count - 1 if unbiased else self.count)

    def __repr__(self) -> str:
        return f"BatchStats(count={self.count}, channels={self.mean.size})"
