"""The variation of a score between seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class SeedScores(NamedTuple):
    """The scores of several seeds, returned by `over_seeds`.

    Attributes
    ----------
    values : ndarray, shape (n,)
        One score for each seed, in the order of the seeds.
    mean : float
    std : float
        Standard deviation of the n scores, with n - 1 in the denominator. With only one seed, it is nan.
    standard_error : float
        Standard error of the mean: ``std / sqrt(n)``.
    """

    values: npt.NDArray[np.float64]
    mean: float
    std: float
    standard_error: float


def over_seeds(score: Callable[[int], float], seeds: Iterable[int]) -> SeedScores:
    """Compute a score for each seed, and the mean, the standard deviation and the standard error of these scores.

    Parameters
    ----------
    score : function of a seed
        Trains with this seed and returns one number.
    seeds : iterable of int
        At least one seed.

    Returns
    -------
    SeedScores
        (values, mean, std, standard_error)

    Raises
    ------
    TypeError, ValueError
        If there is no seed, or a score is not one number.

    Notes
    -----
    To compare two methods whose means have the standard errors a and b, compute the standard error of the difference of
    the means: ``sqrt(a^2 + b^2)``. A difference below about twice this number may be chance. To average models instead
    of scores, use ``Ensemble(train(seed) for seed in seeds)``, where ``train`` returns a model.

    Examples
    --------
    >>> scores = over_seeds(lambda seed: 0.5 + 0.25 * (seed % 2), range(4))
    >>> scores.mean, round(scores.std, 6)
    (0.625, 0.144338)
    """
    if not callable(score):
        raise TypeError(f"over_seeds: score must be a function of a seed; got {type(score).__name__}")
    values = []
    for seed in seeds:
        value = np.asarray(score(seed))
        if value.size != 1 or value.dtype.kind not in "biuf":
            raise ValueError(f"over_seeds: score must return a number; got {value!r} for seed {seed}")
        values.append(float(value.reshape(())))
    if not values:
        raise ValueError("over_seeds: seeds must hold at least one seed; got none")
    found = np.array(values)
    std = float(found.std(ddof=1)) if len(values) > 1 else math.nan
    return SeedScores(found, float(found.mean()), std, std / math.sqrt(len(values)))
