"""Rows for training and validation, and how they are divided into batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from .. import nn
from .._base.arrays import Array
from ..nn.sequential import PREDICT_ROWS


@dataclass
class Data:
    """Rows with targets and weights. `targets` have the form that the loss takes; `y` is what the user passed."""

    x: Any
    targets: Array
    y: Array
    weights: Array | None = None

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def rows(self, rows: Array) -> Data:
        """Return the rows that have these indices."""
        weights = None if self.weights is None else self.weights[rows]
        return Data(self.x[rows], self.targets[rows], self.y[rows], weights)

    def without_weightless(self) -> Data:
        """Remove rows with weight zero, so that they do not influence the training."""
        if self.weights is None or self.weights.all():
            return self
        return self.rows(np.flatnonzero(self.weights))

    def batches(self, size: int, merge_single: bool) -> nn.Batches:
        """Divide the rows into batches of `size` rows.

        If `merge_single` is True and the last batch has only one row, this row is moved into the previous batch.
        """
        kind = SparseBatches if sparse.issparse(self.x) else nn.Batches
        return kind(self.x, self.targets, self.weights, size=size, merge_single=merge_single)


class SparseBatches(nn.Batches):
    """Batches of a sparse matrix. Only one batch at a time is converted to a dense array."""

    def __init__(self, x: Any, targets: Array, weights: Array | None = None, **options: Any) -> None:
        super().__init__(np.empty((x.shape[0], 0)), targets, weights, **options)
        self._sparse = x

    def epoch(self, order: Array | None = None) -> Iterator[nn.Batch]:
        start = 0
        for batch in super().epoch(order):
            stop = start + len(batch.x)
            rows = slice(start, stop) if order is None else order[start:stop]
            yield batch._replace(x=self._sparse[rows].toarray())
            start = stop


def outputs(model: nn.Sequential, x: Any) -> Array:
    """Return a model's outputs for dense or sparse rows."""
    if not sparse.issparse(x):
        return model.predict(x)
    starts = range(0, max(x.shape[0], 1), PREDICT_ROWS)
    return np.concatenate([model.predict(x[start : start + PREDICT_ROWS].toarray()) for start in starts])
