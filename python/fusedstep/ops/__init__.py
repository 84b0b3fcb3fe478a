"""Layers on NumPy arrays: each a forward function and its gradient."""

from .batch_norm import BatchNormGrads, batch_norm, batch_norm_backward
from .batch_stats import BatchStats

__all__ = ["BatchNormGrads", "BatchStats", "batch_norm", "batch_norm_backward"]
