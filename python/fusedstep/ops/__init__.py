"""Layers as functions of NumPy arrays, and the random numbers that they use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from ._batch_norm import BatchNormGrads, batch_norm, batch_norm_backward
from ._batch_stats import BatchStats
from ._dropout import dropout, dropout_backward, dropout_mask
from .draws import beta, permutation, uniform
from .moments import Moments, dropout_moments
from .noise import gaussian_noise
from .philox import Key, Philox

__all__ = [
    "BatchNormGrads",
    "BatchStats",
    "Key",
    "Moments",
    "Philox",
    "batch_norm",
    "batch_norm_backward",
    "beta",
    "dropout",
    "dropout_backward",
    "dropout_mask",
    "dropout_moments",
    "gaussian_noise",
    "permutation",
    "uniform",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = _shown(__name__, __all__)
