"""The average of the weights during a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from .._base.checks import up_to_one
from .._base.weights import listed

Array = npt.NDArray[Any]


class Polyak:
    r"""Keep a running average of parameters theta.

    ::

        avg = d avg + (1 - d) theta          decay d: the exponential average; avg starts at the initial theta
        avg = avg + (theta - avg) / t        decay None: the mean of theta at updates 1 ... t

    The option ``ema_decay`` of an optimizer also computes an exponential average. It takes less time than this class,
    because the average is computed in the optimizer's step. Use this class to update the average less often than at
    every step, for example at the end of every epoch, or if the optimizer is not from this package.

    Parameters
    ----------
    params : {name: array} or list of arrays
        float32 or float64, such as ``model.params``.
    decay : float or None
        The factor d, from 0 to 1. None: the mean of the parameters over all updates.

    Attributes
    ----------
    values : list of ndarray
        The averages, in the order of the parameters.
    updates : int
        Number of updates so far.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Sources: Polyak and Juditsky (1992); Izmailov et al. (2018), who average once per epoch (SWA). The running
    statistics of batch normalisation are not parameters, and are not averaged. If you use the averages as parameters,
    measure the statistics again (`fusedstep.nn.measure_batch_norm`).

    Examples
    --------
    >>> import numpy as np
    >>> w = np.zeros(1)
    >>> mean = Polyak([w])
    >>> for step in (1.0, 2.0, 6.0):
    ...     w[:] = step
    ...     mean.update()
    >>> with mean.averaged():
    ...     print(w)
    [3.]
    >>> w
    array([6.])
    """

    def __init__(self, params: Mapping[str, Array] | Sequence[Array], decay: float | None = None) -> None:
        self._arrays = listed("Polyak", params)
        self.decay = None if decay is None else up_to_one("Polyak: decay", decay)
        self.values = [array.copy(order="K") for array in self._arrays]
        self.updates = 0

    def update(self) -> None:
        """Add the current parameters to the average."""
        self.updates += 1
        decay = 1.0 - 1.0 / self.updates if self.decay is None else self.decay
        for average, array in zip(self.values, self._arrays, strict=True):
            # The sum starts from the term with the larger weight, so that decays of 0 and 1 are exact.
            if 1.0 - decay < 0.5:
                if decay < 1.0:
                    average += average.dtype.type(1.0 - decay) * (array - average)
            elif decay == 0.0:
                np.copyto(average, array)
            else:
                np.subtract(array, average.dtype.type(decay) * (array - average), out=average)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Set the parameters to the averages inside a ``with`` block. After it, they have their former values."""
        kept = [array.copy(order="K") for array in self._arrays]
        try:
            for array, average in zip(self._arrays, self.values, strict=True):
                np.copyto(array, average)
            yield
        finally:
            for array, before in zip(self._arrays, kept, strict=True):
                np.copyto(array, before)
