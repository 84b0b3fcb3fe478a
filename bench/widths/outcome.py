"""Compute differences of losses and their standard errors. Judge whether they are within the margin of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LIMIT = 0.01  # largest allowed absolute value of the mean difference / float32's mean loss
ERRORS = 2.0  # largest allowed mean difference / its standard error
Losses = Mapping[str, Sequence[float]]  # name of a loss ("train", "held_out") -> its values, one for each seed


@dataclass(frozen=True)
class Difference:
    """The mean of (loss of a variant - loss of float32), and its standard error. Both are divided by float32's mean."""

    mean: float
    error: float

    @property
    def is_within(self) -> bool:
        """Return True if the difference is within the margin that `bench.widths` defines."""
        return abs(self.mean) <= LIMIT and self.mean <= ERRORS * self.error


def difference(losses: Sequence[float], reference: Sequence[float]) -> Difference:
    """Compare the losses of a variant with those of float32. Both sequences have one loss for each seed, in order."""
    paired = np.subtract(losses, reference)
    scale = np.mean(reference)
    return Difference(float(paired.mean() / scale), float(paired.std(ddof=1) / np.sqrt(len(paired)) / scale))


def is_within(losses: Losses, reference: Losses) -> bool:
    """Return True if a variant is within the margin for both losses."""
    return all(difference(losses[k], reference[k]).is_within for k in reference)
