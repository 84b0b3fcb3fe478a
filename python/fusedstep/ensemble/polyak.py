"""The average of the weights along a run."""

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
    r"""Keep a running average of parameters.

    ::

        avg = d avg + (1 - d) theta          decay d: exponential, from the initial theta on
        avg = avg + (theta - avg) / t        decay None: the mean of theta_1 ... theta_t

    For the exponential form, ``ema_decay`` of an optimizer is cheaper: it needs no pass of its own. Use this class to
    average less often, such as at the ends of epochs, and for parameters that no optimizer of this package updates.

    Parameters
    ----------
    params : {name: array} or list of arrays
        float32 or float64, such as ``model.params``.
    decay : float or None
        From 0 to 1, or None for the plain mean.

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
    Polyak and Juditsky (1992); over the ends of epochs: Izmailov et al. (2018), SWA. The running statistics of batch
    normalisation are not parameters. Measure them again with the averages (`fusedstep.nn.measure_batch_norm`).

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
            # It starts from the term with the larger weight, which is exact for decays of 0 and 1.
            if 1.0 - decay < 0.5:
                if decay < 1.0:
                    average += average.dtype.type(1.0 - decay) * (array - average)
            elif decay == 0.0:
                np.copyto(average, array)
            else:
                np.subtract(array, average.dtype.type(decay) * (array - average), out=average)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the averages into the parameters, in place, and restore the parameters at the end."""
        kept = [array.copy(order="K") for array in self._arrays]
        try:
            for array, average in zip(self._arrays, self.values, strict=True):
                np.copyto(array, average)
            yield
        finally:
            for array, before in zip(self._arrays, kept, strict=True):
                np.copyto(array, before)
