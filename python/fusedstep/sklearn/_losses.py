"""scikit-learn's losses, with its scale of values and gradients, on the outputs before their activation."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, xlogy

from .. import nn
from .._base.arrays import Array


class SquaredError(nn.MeanSquaredError):
    """``mean(1/2 (y - t)^2)`` over rows and columns; gradient ``(y - t) / n``.

    For k columns the gradient is k times the slope of the value, because scikit-learn reports the mean over columns but
    minimises their sum.
    """

    def _evaluate(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        losses, gradient = super()._evaluate(outputs, targets)
        return np.multiply(losses, 0.5, out=losses), np.multiply(gradient, 0.5 * outputs.shape[1], out=gradient)


class LogLoss(nn.BinaryCrossEntropy):
    """The binary cross-entropy of each column, summed over the columns."""

    def _evaluate(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        losses, gradient = super()._evaluate(outputs, targets)
        k = outputs.shape[1]
        return (
            (losses, gradient)
            if k == 1
            else (np.multiply(losses, k, out=losses), np.multiply(gradient, k, out=gradient))
        )


class HalfPoisson(nn.Loss):
    """``t log(t / exp(y)) - t + exp(y)`` summed over the columns, half the deviance; gradient ``(exp(y) - t) / n``."""

    def _evaluate(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        t = self._like(outputs, targets)
        mean = np.exp(outputs, out=self._buffer("mean", outputs.shape, outputs.dtype))
        losses = np.add.reduce(xlogy(t, t) - t * outputs - t + mean, axis=1)
        np.subtract(mean, t, out=mean)
        return losses, np.multiply(mean, 1.0 / len(outputs), out=mean)


#: Activation of the outputs -> function from outputs to predictions.
OUTPUTS = {"identity": lambda outputs: outputs, "exp": np.exp, "logistic": expit, "softmax": nn.softmax}
