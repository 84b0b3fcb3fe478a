"""Layers as functions of NumPy arrays, and the random numbers that they use."""

from __future__ import annotations

from .dropout import dropout, dropout_backward, dropout_mask
from .moments import Moments, dropout_moments
from .noise import gaussian_noise
from .philox import Key, Philox

__all__ = [
    "Key",
    "Moments",
    "Philox",
    "dropout",
    "dropout_backward",
    "dropout_mask",
    "dropout_moments",
    "gaussian_noise",
]
