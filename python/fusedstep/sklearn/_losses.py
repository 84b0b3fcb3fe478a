"""The losses of scikit-learn, as functions of the outputs before the last activation.

Values and gradients are scaled as in scikit-learn.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, xlogy

from .. import nn
from .._base.arrays import Array


class SquaredError(nn.MeanSquaredError):
    """``mean(1/2 (y - t)^2)`` over all rows and columns of the outputs y and the targets t.

    For n rows, the gradient is ``(y - t) / n``, as if the losses of the columns were added. scikit-learn does the
    same. It reports the mean over the columns, but minimises the sum over the columns.
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
    """Half the Poisson deviance of the targets t from the predictions exp(y), where y are the outputs.

    For each row, this is ``t log(t / exp(y)) - t + exp(y)``, summed over the columns. The loss is the mean over the n
    rows. The gradient of the loss with respect to y is ``(exp(y) - t) / n``.
    """

    def _evaluate(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        t = self._like(outputs, targets)
        mean = np.exp(outputs, out=self._buffer("mean", outputs.shape, outputs.dtype))
        losses = np.add.reduce(xlogy(t, t) - t * outputs - t + mean, axis=1)
        np.subtract(mean, t, out=mean)
        return losses, np.multiply(mean, 1.0 / len(outputs), out=mean)


#: The last activations by name: functions that turn the outputs of the network into predictions.
OUTPUTS = {"identity": lambda outputs: outputs, "exp": np.exp, "logistic": expit, "softmax": nn.softmax}
