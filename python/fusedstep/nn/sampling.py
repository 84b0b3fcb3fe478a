"""The uncertainty of a trained model: predictions under many dropout masks."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .._base.arrays import Array
from ..ops.philox import Key
from .losses import softmax


class SampledPrediction(NamedTuple):
    """Predictions and their uncertainties, from a network's outputs under many dropout masks.

    Attributes
    ----------
    prediction : ndarray, shape (n,)
        One prediction for each of the n rows. For a classification: the class with the largest mean probability. For a
        regression: the mean of the predicted values over the masks.
    uncertainty : ndarray, shape (n,)
        For a classification: the entropy of the mean probabilities, in nats. For a regression: the standard deviation
        of the predicted values over the masks, in the target's units.
    mean, variance : ndarray, shape (n, number of classes), or (n, 1) for a regression
        For a classification: mean and variance of the probabilities over the masks. For a regression: mean and variance
        of the predicted values over the masks. The mean is in the target's units, the variance in these units squared.
    """

    prediction: Array
    uncertainty: Array
    mean: Array
    variance: Array


def predict_samples(trained: Any, X: Any, k: int, key: Key | int) -> SampledPrediction:
    """Predict from the rows X of unscaled features under k dropout masks; see `TrainedModel.predict_samples`."""
    rows = trained.transform(X)
    if trained.task == "classification":
        mean, variance, _ = trained.model.predict_samples(rows, k, key, softmax)
        prediction = np.asarray(trained.classes)[mean.argmax(axis=1)]
        return SampledPrediction(prediction, entropy(mean), mean, variance)
    mean, variance, _ = trained.model.predict_samples(rows, k, key)
    mean = mean * trained.target_scale + trained.target_mean
    variance = variance * trained.target_scale**2
    return SampledPrediction(mean[:, 0], np.sqrt(variance[:, 0]), mean, variance)


def entropy(p: Array) -> Array:
    """Return ``-sum(p log p)`` for each row p of probabilities. Here 0 log 0 is 0."""
    logs = np.log(np.where(p > 0, p, 1))
    total: Array = np.sum(p * logs, axis=1)
    return np.abs(total)
