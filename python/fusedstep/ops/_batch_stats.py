"""Mean and variance per channel of more values than one array holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _core
from .._base.checks import axis_of

Array = np.ndarray[Any, Any]


class BatchStats:
    r"""Count, mean and sum of squared deviations per channel, which grow array by array.

    ::

        delta = mean_b - mean_a                      n = n_a + n_b
        mean  = mean_a + delta * n_b / n             M2 = M2_a + M2_b + delta^2 * n_a * n_b / n

    For the statistics of several mini-batches (gradient accumulation), of the parts of a batch on several workers (it
    can be pickled), or of a memory-mapped file that is larger than memory.

    Notes
    -----
    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979). The
    values come out as for the whole up to rounding in double, and bit for bit if every array but the last has a
    multiple of 1,024 values per channel.

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
        """Add the values of an array.

        Parameters
        ----------
        x : ndarray of float32, float64, float16 or bfloat16, at least 2 axes
            C-contiguous; a `numpy.memmap` will do.
        axis : int
            The axis of the channels.

        Raises
        ------
        TypeError, ValueError
            If x is empty, not as described, or has another number of channels than what came before.
        """
        self._moments.update(x, axis_of("BatchStats.update", axis))

    def merge(self, other: BatchStats) -> None:
        """Add the values of other statistics, which do not change.

        Raises
        ------
        TypeError, ValueError
            If `other` is not a BatchStats, or has another number of channels.
        """
        if not isinstance(other, BatchStats):
            raise TypeError(f"BatchStats.merge: other must be a BatchStats; got {type(other).__name__}")
        self._moments.merge(other._moments)

    @property
    def count(self) -> int:
        """Values per channel so far."""
        return self._moments.count

    @property
    def mean(self) -> Array:
        """Mean per channel: float64 of shape (C,), empty before the first values."""
        return self._moments.mean

    @property
    def m2(self) -> Array:
        """Sum of squared deviations from the mean per channel: float64 of shape (C,)."""
        return self._moments.m2

    def var(self, unbiased: bool = False) -> Array:
        """Variance per channel.

        Parameters
        ----------
        unbiased : bool
            Divide by count - 1 in place of count.

        Raises
        ------
        ValueError
            If there are too few values.
        """
        least = 2 if unbiased else 1
        if self.count < least:
            raise ValueError(f"BatchStats.var: count must be at least {least}; got {self.count}")
        return self.m2 / (self.count - 1 if unbiased else self.count)

    def __repr__(self) -> str:
        return f"BatchStats(count={self.count}, channels={self.mean.size})"
