"""Losses for classification: softmax with negative log-likelihood, and the multiclass hinge."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from ... import _core
from ..._base.arrays import Array, describe
from ._loss import Loss


class SoftmaxNLL(Loss):
    """Softmax and negative log-likelihood of logits z: ``-mean_i(log softmax(z_i)[l_i])``, where l_i is row i's label.

    z has n rows and k columns, one column per class. The gradient with respect to z is
    ``(softmax(z) - onehot(l)) / n``. The model returns the logits, and the loss computes the softmax. To avoid
    overflow, each row's maximum is first subtracted from the row. torch's ``CrossEntropyLoss`` is the same function.

    The targets are integer labels of shape (n,). They can also be distributions t over the classes, of shape (n, k),
    such as smoothed or mixed labels. Then the loss is ``-mean_i(sum_j t_ij log softmax(z_i)[j])``.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SoftmaxNLL()
    >>> round(loss(np.zeros((2, 4)), np.array([0, 3])), 6)
    1.386294
    >>> loss(np.zeros((2, 4)), np.full((2, 4), 0.25)) == loss(np.zeros((2, 4)), np.array([0, 3]))
    True
    """

    takes: ClassVar[tuple[str, ...]] = ("labels", "distributions")

    def _evaluate(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        dtype, p = outputs.dtype, self._buffer("p", outputs.shape, outputs.dtype)
        if np.ndim(targets) == 2:
            return self._against_distributions(outputs, self._distributions(outputs, targets), p)
        labels, losses = self._labels(outputs, targets), self._buffer("losses", outputs.shape[:1], dtype)
        bad = _core.softmax_loss(np.ascontiguousarray(outputs), labels, losses, p)
        if bad >= 0:
            self._refuse_label(outputs, targets, bad)
        return losses, p

    def _against_distributions(self, z: Array, t: Array, p: Array) -> tuple[Array, Array]:
        np.subtract(z, np.maximum.reduce(z, axis=1, keepdims=True), out=p)
        weight, chosen = np.add.reduce(t, axis=1, keepdims=True), np.einsum("ij,ij->i", t, p)
        np.exp(p, out=p)
        total = np.add.reduce(p, axis=1, keepdims=True)
        np.multiply(p, weight / total, out=p)
        np.subtract(p, t, out=p)
        return (weight * np.log(total))[:, 0] - chosen, np.multiply(p, 1.0 / len(z), out=p)

    def _distributions(self, outputs: Array, targets: Array) -> Array:
        t = self._like(outputs, targets)
        if not np.minimum.reduce(t, axis=None) >= 0:
            raise ValueError(f"SoftmaxNLL: targets must be >= 0; got {t[~(t >= 0)][0]}")
        return t


class MulticlassHinge(Loss):
    """The multiclass hinge ``mean_i(sum_(j != l) max(0, z_ij - z_il + margin))``, where l is the label of row i.

    z holds the scores: it has n rows i and one column j per class. In row i, let m be the number of classes j whose
    term of the sum is above 0. The gradient with respect to the scores of this row is 1/n for these m classes, -m/n for
    the label l, and 0 for the other classes. The targets are integer labels of shape (n,). torch's ``MultiMarginLoss``
    is this loss divided by the number of classes. Source: Weston and Watkins (1999).

    Parameters
    ----------
    margin : float
        A number > 0. If the score of the label is larger than every other score by at least this number, the loss of
        the row is 0.

    Raises
    ------
    ValueError
        If the margin is not a finite number > 0.

    Examples
    --------
    >>> import numpy as np
    >>> MulticlassHinge()(np.array([[3.0, 2.5, -1.0]]), np.array([0]))
    0.5
    """

    takes: ClassVar[tuple[str, ...]] = ("labels",)

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        if isinstance(margin, bool) or not 0 < margin < float("inf"):
            raise ValueError(f"MulticlassHinge: margin must be a finite number > 0; got {margin!r}")
        self.margin = float(margin)

    def __repr__(self) -> str:
        return f"MulticlassHinge(margin={self.margin!r})"

    def _evaluate(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        n, dtype = len(outputs), outputs.dtype
        flat = self._entries(outputs, targets)
        excess = self._buffer("excess", outputs.shape, dtype)
        lead = outputs.reshape(-1)[flat].reshape(n, 1)
        np.subtract(outputs, np.subtract(lead, dtype.type(self.margin)), out=excess)
        np.maximum(excess, 0, out=excess)
        entries = excess.reshape(-1)
        entries[flat] = 0
        losses = np.add.reduce(excess, axis=1)
        np.sign(excess, out=excess)
        entries[flat] = -np.add.reduce(excess, axis=1)
        return losses, np.multiply(excess, 1.0 / n, out=excess)


def softmax(logits: Array) -> Array:
    """Return ``exp(z - max z) / sum(exp(z - max z))`` for each row z of the logits, as a new array.

    Parameters
    ----------
    logits : array_like, shape (n, k)
        Each row has the scores of k classes.

    Returns
    -------
    ndarray, shape (n, k)
        Probabilities: every row sums to 1.

    Raises
    ------
    ValueError
        If the logits are not a matrix of numbers with at least one column.

    Examples
    --------
    >>> softmax([[0.0, 0.0], [1000.0, 0.0]])
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    z: np.ndarray[Any, Any] = np.asarray(logits)
    if isinstance(logits, np.ma.MaskedArray) or z.ndim != 2 or z.dtype.kind not in "iuf" or not z.shape[1]:
        got = describe(logits if isinstance(logits, np.ma.MaskedArray) else z)
        raise ValueError(f"softmax: logits must be numbers of shape (n, k), k >= 1; got {got}")
    p: Array = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p
