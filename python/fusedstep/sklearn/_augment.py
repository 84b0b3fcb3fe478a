"""Augmentation of batches, noise on the weights, and smoothing of labels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import augment, nn
from .._base.arrays import Array
from ..ops.philox import Philox
from ._parameters import Parameters


def augmented(batches: Iterator[nn.Batch], given: Parameters, draws: Philox | None) -> Iterator[nn.Batch]:
    """Return the batches. If the estimator sets `mixup`, rows are mixed. If it sets `input_noise`, inputs get noise."""
    if draws is None or not (given.mixup or given.input_noise):
        return batches
    return (_changed(batch, given, draws) for batch in batches)


def _changed(batch: nn.Batch, given: Parameters, draws: Philox) -> nn.Batch:
    x, targets, weights = batch
    if given.mixup:
        x, targets, own, partner = augment.mixup(x, targets, draws.key(), given.mixup)
        if weights is not None:
            weights = (own * weights + (1 - own) * weights[partner]).astype(weights.dtype)
    if given.input_noise:
        x = augment.gaussian_noise(x, given.input_noise, draws.key())
    return nn.Batch(x, targets, weights)


def around(
    given: Parameters, model: nn.Sequential, draws: Philox | None
) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """Return a function that creates a context manager for a `with` block.

    Inside the block, the weights have noise if the estimator sets `weight_noise`.
    """
    if draws is None or not given.weight_noise:
        return contextlib.nullcontext
    return lambda: augment.weight_noise(model.params, given.weight_noise, draws.key())


def soft_labels(labels: Array, eps: float, mixed: bool, classes: int, dtype: Any) -> Array:
    """Return the labels after smoothing by `eps`.

    Integer labels become distributions over the classes if `eps` is above 0, or if mixup will mix them (`mixed`).
    Multilabel data already has columns with 0 and 1. Each number t of a distribution or of a column becomes t'::

        t' = (1 - eps) t + eps / k

    k is 2 for multilabel data. Otherwise, k is the number of classes.
    """
    if labels.ndim == 1:
        return augment.label_smoothing(labels, eps, classes, dtype) if eps or mixed else labels
    return (labels * (1 - eps) + eps / 2).astype(dtype)


def moments(models: list[nn.Sequential], x: Array, k: int, seed: int, transform: Any) -> tuple[Array, Array]:
    """Return the mean and variance of the predictions over all networks and k dropout masks per network."""
    found = [model.predict_samples(x, k, seed, transform) for model in models]
    means = np.array([m.mean for m in found])
    return means.mean(axis=0), np.mean([m.variance for m in found], axis=0) + means.var(axis=0)
