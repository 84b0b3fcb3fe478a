"""Labels as distributions over the classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .._base.arrays import describe, float_dtype
from .._base.checks import check_width, up_to_one

Array = npt.NDArray[Any]


def one_hot(labels: npt.ArrayLike, num_classes: int, dtype: npt.DTypeLike = np.float32) -> Array:
    """Return one row per label. The row is 1 in the column of the label, and 0 in all other columns.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        Labels from 0 to num_classes - 1.
    num_classes : int
        Number of columns k, at least 1.
    dtype : dtype
        float32 or float64.

    Returns
    -------
    ndarray, shape (n, k)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> one_hot([1, 0], 3)
    array([[0., 1., 0.],
           [1., 0., 0.]], dtype=float32)
    """
    k, found = check_width("one_hot", "num_classes", num_classes), np.asarray(labels)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise ValueError(f"one_hot: labels must be integers of shape (n,); got {describe(found)}")
    outside = (found < 0) | (found >= k)
    if outside.any():
        raise ValueError(f"one_hot: labels must be from 0 to {k - 1}; got {found[outside][0]}")
    rows = np.zeros((len(found), k), float_dtype("one_hot", dtype))
    rows[np.arange(len(found)), found.astype(np.intp)] = 1
    return rows


def label_smoothing(
    targets: npt.ArrayLike, eps: float = 0.1, num_classes: int | None = None, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Take the fraction eps from the probabilities of every target, and distribute it evenly over all k classes.

    The target t becomes t'. If t is a label c, it is first converted to a distribution: the probability of class c
    is 1, and all other probabilities are 0.

    ::

        t' = (1 - eps) t + eps / k

    Parameters
    ----------
    targets : array_like
        Integer labels (n,), or distributions over the classes (n, k).
    eps : float
        A number from 0 to 1. 0 changes nothing; 1 makes all probabilities equal.
    num_classes : int, optional
        The number of classes k. It is needed if the targets are labels.
    dtype : dtype
        float32 or float64.

    Returns
    -------
    ndarray, shape (n, k)
        Targets for `fusedstep.nn.SoftmaxNLL`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Source: Szegedy et al. (2016), "Rethinking the Inception architecture", section 7. The argument ``label_smoothing``
    of torch's ``CrossEntropyLoss`` does the same: the label's own probability is 1 - eps + eps / k.

    Examples
    --------
    >>> label_smoothing([2], 0.25, num_classes=4)
    array([[0.0625, 0.0625, 0.8125, 0.0625]], dtype=float32)
    """
    eps, kind = up_to_one("label_smoothing: eps", eps), float_dtype("label_smoothing", dtype)
    t = np.asarray(targets)
    if t.ndim == 1:
        if num_classes is None:
            raise ValueError("label_smoothing: num_classes must be given if targets are labels; got None")
        t = one_hot(t, num_classes, kind)
    elif t.ndim != 2 or t.dtype.kind not in "biuf" or num_classes not in (None, t.shape[1]):
        raise ValueError(
            f"label_smoothing: targets must be labels of shape (n,) or distributions of shape "
            f"(n, {num_classes or 'k'}); got {describe(t)}"
        )
    return (kind.type(1 - eps) * t + kind.type(eps / t.shape[1])).astype(kind, copy=False)
