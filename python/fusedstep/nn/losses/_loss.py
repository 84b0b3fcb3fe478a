"""The base class of losses."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

import numpy as np

from ..._base.arrays import Array, describe, is_base_ndarray
from ..._base.memory import Buffers


class Loss:
    """The base class of losses, which compare a model's outputs with their targets.

    ::

        value = sum_i w_i l_i / sum_i w_i,    l_i = loss of row i,    w_i = weight of row i, or 1 without weights

    ``loss(outputs, targets)`` returns the value. ``loss.gradient(outputs, targets)`` returns the gradient with respect
    to the outputs. `value_and_gradient` returns both, and takes no longer than one of the two calls alone. The gradient
    is in memory that is reused for every batch of the same size, so it is valid until the next call of the loss.

    A subclass defines `_evaluate`.

    Attributes
    ----------
    takes : tuple of str
        Class attribute: the kinds of targets that this loss accepts. Targets of the kinds "numbers", "unit" (numbers
        from 0 to 1) and "distributions" (probabilities of the classes) have the shape of the outputs. Targets of the
        kind "labels" are integers, one per row.
    """

    takes: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self._memory: dict[tuple[str, np.dtype[Any]], Buffers] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_memory": {}}

    def __call__(self, outputs: Array, targets: Array, weights: Array | None = None) -> float:
        """Return the value of the loss; see `value_and_gradient`."""
        return self.value_and_gradient(outputs, targets, weights)[0]

    def gradient(self, outputs: Array, targets: Array, weights: Array | None = None) -> Array:
        """Return the gradient with respect to the outputs; see `value_and_gradient`."""
        return self.value_and_gradient(outputs, targets, weights)[1]

    def value_and_gradient(self, outputs: Array, targets: Array, weights: Array | None = None) -> tuple[float, Array]:
        """Return the mean loss of the rows and its gradient with respect to the outputs.

        Parameters
        ----------
        outputs : ndarray, shape (n, k)
            Outputs of the model: float32 or float64, n >= 1. They are not written to.
        targets : ndarray
            The targets of the rows. Each loss describes their shape and their values.
        weights : ndarray, shape (n,), optional
            Weights of the rows: finite numbers >= 0, at least one of them > 0. By default, all rows have the same
            weight.

        Returns
        -------
        value : float
        gradient : ndarray, shape (n, k)
            An array in reused memory. It is valid until the next call.

        Raises
        ------
        ValueError
            If an argument is not as described, or if targets or weights do not fit the outputs.
        """
        if not is_base_ndarray(outputs) or outputs.dtype.char not in "fd" or outputs.ndim != 2 or not outputs.size:
            raise ValueError(
                f"{type(self).__name__}: outputs must be float32 or float64 of shape (n, k) with n, k >= 1; "
                f"got {describe(outputs)}"
            )
        losses, gradient = self._evaluate(outputs, targets)
        n = len(outputs)
        if weights is None:
            return float(np.add.reduce(losses, axis=None)) / n, gradient
        shares = self._shares(weights, outputs)
        value = float(np.dot(losses.reshape(n), shares))
        return value, np.multiply(gradient, (n * shares)[:, None], out=gradient)

    def _evaluate(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        """Return the loss of each row, and the gradient of the unweighted mean loss with respect to the outputs."""
        raise NotImplementedError

    def _shares(self, weights: Array, outputs: Array) -> Array:
        """Return the weights divided by their sum."""
        found = _unmasked(weights)
        if found.shape != (len(outputs),) or found.dtype.kind not in "biuf":
            raise ValueError(
                f"{type(self).__name__}: weights must be numbers of shape ({len(outputs)},); got {describe(found)}"
            )
        total = float(np.add.reduce(found, dtype=np.float64))
        if not (np.minimum.reduce(found) >= 0 and 0 < total < np.inf):
            raise ValueError(f"{type(self).__name__}: weights must be finite, >= 0 and not all 0; got {found}")
        return np.divide(found, total, dtype=np.float64).astype(outputs.dtype, copy=False)

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return an array of scratch memory. Calls with the same arguments share its memory."""
        try:
            return self._memory[name, dtype][shape]
        except KeyError:
            self._memory[name, dtype] = Buffers(dtype)
            return self._memory[name, dtype][shape]

    def _like(self, outputs: Array, targets: Array) -> Array:
        """Convert the targets to the dtype of the outputs. Refuse targets whose shape differs from the outputs' shape.

        If the outputs have the shape (n, 1), targets of shape (n,) are reshaped to (n, 1).
        """
        found = _unmasked(targets)
        if found.ndim == 1 and outputs.shape[1] == 1:
            found = found.reshape(-1, 1)
        if found.shape != outputs.shape or found.dtype.kind not in "biuf":
            raise ValueError(
                f"{type(self).__name__}: targets must be numbers of shape {outputs.shape}; "
                f"got {describe(_unmasked(targets))}"
            )
        return found.astype(outputs.dtype, copy=False)

    def _labels(self, outputs: Array, targets: Array) -> Array:
        """Return the labels as contiguous int64. Their range is not checked."""
        n = len(outputs)
        labels = _unmasked(targets)
        if labels.shape != (n,) or labels.dtype.kind not in "iu":
            raise ValueError(
                f"{type(self).__name__}: targets must be integer labels of shape ({n},); got {describe(labels)}"
            )
        return np.ascontiguousarray(labels, np.int64)

    def _entries(self, outputs: Array, targets: Array) -> Array:
        """Check the labels. For each row, return the index of the label's output in the flattened outputs."""
        labels, (n, k) = self._labels(outputs, targets), outputs.shape
        wrong = np.flatnonzero((labels < 0) | (labels >= k))
        if wrong.size:
            self._refuse_label(outputs, targets, wrong[0])
        return np.arange(0, n * k, k) + labels

    def _refuse_label(self, outputs: Array, targets: Array, at: int) -> NoReturn:
        label = np.asarray(targets)[at]  # not from the int64 copy, in which a uint64 label may overflow
        raise ValueError(f"{type(self).__name__}: targets must be labels from 0 to {outputs.shape[1] - 1}; got {label}")


def _unmasked(targets: Any) -> Array:
    """Return targets or weights as an array. A masked array becomes an object array, which the checks refuse."""
    return np.asarray(targets, object) if isinstance(targets, np.ma.MaskedArray) else np.asarray(targets)
