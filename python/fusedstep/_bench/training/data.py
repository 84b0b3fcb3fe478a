"""The training rows, and a job (a case with its arrays)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from .. import common
from ..common import Array
from .cases import CLASSES, FEATURES, Case

ROWS = 1797


def digits() -> tuple[Array, Array]:
    """Return scikit-learn's digits, scaled to [0, 1]. Without scikit-learn, return random data of the same shape."""
    if not common.missing(["sklearn"]):
        datasets: Any = importlib.import_module("sklearn.datasets")
        x, y = datasets.load_digits(return_X_y=True)
        return (x / 16).astype(np.float32), y.astype(np.int64)
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, ROWS)
    centres = rng.random((CLASSES, FEATURES))
    return np.clip(centres[y] + 0.2 * rng.standard_normal((ROWS, FEATURES)), 0, 1).astype(np.float32), y


@dataclass
class Job:
    """A case with its arrays. All trainers read the same arrays, and no trainer writes them."""

    case: Case
    threads: int

    @cached_property
    def rows(self) -> tuple[Array, Array]:
        """Return the data rows of all batches. If the data set has too few rows, rows are repeated."""
        x, y = digits()
        picked = np.arange(self.case.batch * self.case.batches) % len(x)
        return x[picked], y[picked]

    @cached_property
    def batches(self) -> list[slice]:
        size = self.case.batch
        return [slice(i * size, (i + 1) * size) for i in range(self.case.batches)]

    @cached_property
    def start(self) -> list[Array]:
        """Return the initial weights and biases of each layer, alternating.

        Weights have the shape (in, out). Their standard deviation is sqrt(2 / in), as He et al. (2015) propose.
        """
        rng = np.random.default_rng(1)
        arrays = []
        for a, b in pairwise(self.case.widths):
            arrays.append((rng.standard_normal((a, b)) * np.sqrt(2 / a)).astype(np.float32))
            arrays.append(np.full(b, 0.01, np.float32))
        return arrays
