"""The outcome of the study: paired differences of losses, their standard errors, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LIMIT = 0.01  # share of float32's mean loss
ERRORS = 2.0  # standard errors of the paired differences
Losses = Mapping[str, Sequence[float]]  # one for each seed, by measure


@dataclass(frozen=True)
class Difference:
    """The mean difference to float32, and its standard error, as shares of float32's mean loss."""

    mean: float
    error: float

    @property
    def is_within(self) -> bool:
        """Return True if it keeps the margin."""
        return abs(self.mean) <= LIMIT and self.mean <= ERRORS * self.error


def difference(losses: Sequence[float], reference: Sequence[float]) -> Difference:
    """Compare runs with float32's of the same seeds."""
    paired = np.subtract(losses, reference)
    scale = np.mean(reference)
    return Difference(float(paired.mean() / scale), float(paired.std(ddof=1) / np.sqrt(len(paired)) / scale))


def is_within(losses: Losses, reference: Losses) -> bool:
    """Return True if a variant keeps the margin in every measure."""
    return all(difference(losses[k], reference[k]).is_within for k in reference)
