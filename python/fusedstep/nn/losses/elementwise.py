"""Losses that are a mean over all elements of the outputs: squared error and binary cross-entropy."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..._base.arrays import Array
from ._loss import Loss


class MeanSquaredError(Loss):
    """The mean of ``(y - t)^2`` over all elements of the outputs y and the targets t.

    y and t have the shape (n, k). If k = 1, the targets can also have the shape (n,). The gradient with respect to y
    is ``2 (y - t) / (n k)``. torch's ``MSELoss`` is the same function.

    Examples
    --------
    >>> import numpy as np
    >>> MeanSquaredError()(np.array([[1.0], [2.0]]), np.array([1.0, 4.0]))
    2.0
    """

    takes: ClassVar[tuple[str, ...]] = ("numbers",)

    def _evaluate(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        error = self._buffer("error", outputs.shape, outputs.dtype)
        np.subtract(outputs, self._like(outputs, targets), out=error)
        losses = np.einsum("ij,ij->i", error, error) / outputs.shape[1]
        return losses, np.multiply(error, 2.0 / outputs.size, out=error)


class BinaryCrossEntropy(Loss):
    """The mean of ``max(z, 0) - z t + log(1 + exp(-|z|))`` over all elements of the logits z and the targets t.

    This is the binary cross-entropy of t and ``sigmoid(z)``. The model returns the logits, and the loss computes the
    sigmoid. So a large ``|z|`` does not overflow and loses no digits. The logits have the shape (n, k). The targets are
    probabilities in [0, 1] or bools, of the same shape. If k = 1, the targets can also have the shape (n,). The
    gradient with respect to z is ``(sigmoid(z) - t) / (n k)``. torch's ``BCEWithLogitsLoss`` is the same function.

    Examples
    --------
    >>> import numpy as np
    >>> round(BinaryCrossEntropy()(np.array([[0.0], [1000.0]]), np.array([1, 1])), 6)
    0.346574
    """

    takes: ClassVar[tuple[str, ...]] = ("unit",)

    def _evaluate(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        t = self._like(outputs, targets)
        if not (np.minimum.reduce(t, axis=None) >= 0 and np.maximum.reduce(t, axis=None) <= 1):
            outside = t[~((t >= 0) & (t <= 1))]
            raise ValueError(f"BinaryCrossEntropy: targets must lie in [0, 1]; got {outside[0]}")
        z = outputs
        small, part, work = (self._buffer(name, z.shape, z.dtype) for name in ("small", "part", "work"))
        np.exp(np.negative(np.abs(z, out=small), out=small), out=small)  # exp(-|z|)
        np.maximum(z, 0, out=part)
        np.subtract(part, np.multiply(z, t, out=work), out=part)
        np.add(part, np.log1p(small, out=work), out=part)
        losses = np.add.reduce(part, axis=1) / z.shape[1]
        # sigmoid(z) = s(z) / (1 + exp(-|z|)), where s(z) = 1 if z >= 0, else exp(-|z|)
        np.maximum(np.copysign(1.0, z, out=work), small, out=work)
        np.divide(work, np.add(small, 1, out=small), out=part)
        np.subtract(part, t, out=part)
        return losses, np.multiply(part, 1.0 / z.size, out=part)
