"""Decompose a mean loss into bias and variance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._base.checks import whole_number
from .._base.random import key_of
from ..ensemble.members import predictor
from ..ops.draws import uniform
from ..ops.philox import Key

Array = npt.NDArray[Any]


class BiasVariance(NamedTuple):
    """The decomposition of a mean loss into bias and variance, returned by `bias_variance`.

    Attributes
    ----------
    loss : float
        Mean loss of the predictions, over all test rows and all training sets.
    bias : float
        Mean loss of the main predictions. For each test row, the main prediction is the mean of all predictions for
        this row (with ``loss="squared"``), or the most frequent of them (with ``loss="zero_one"``). The bias includes
        the noise of the test targets.
    variance : float
        Mean loss of the predictions, with the main predictions in place of the targets.
    net_variance : float
        ``loss - bias``: the amount that the variance adds to the loss. With ``loss="squared"``, it is equal to
        ``variance``. With ``loss="zero_one"``, it can be smaller: if the main prediction is wrong, a prediction that
        differs from it may be right.
    predictions : ndarray, shape (rounds, n_test)
        ``predictions[r, i]`` is the prediction for test row i after training on training set r.
    """

    loss: float
    bias: float
    variance: float
    net_variance: float
    predictions: Array


def bias_variance(
    fit: Callable[[Array, Array], Any],
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    X_test: npt.ArrayLike,
    y_test: npt.ArrayLike,
    *,
    rounds: int = 50,
    loss: str = "squared",
    key: Key | None = None,
) -> BiasVariance:
    r"""Decompose the mean loss of models into bias and variance. The models' training sets are drawn by bootstrap.

    For one test row::

        squared     E (y - f)^2  =  (y - E f)^2  +  E (f - E f)^2
        zero_one    E [y != f]   =  [y != m]     +  net variance
                    variance     =  E [f != m]
        f: prediction of a model,    m: most frequent f,    y: target
        E: mean over the training sets,    [...]: 1 if true, else 0

    The result contains the means of these terms over the test rows.

    Parameters
    ----------
    fit : function of (X, y)
        It trains a model on the rows X with the targets y. It returns the model: an object with the method
        ``predict(X)``, or a function of X that returns the predictions.
    X, y : array_like, n rows
        Each training set has n of these rows, drawn with replacement.
    X_test, y_test : array_like
        Rows for which the loss is computed, and one number or label for each row.
    rounds : int
        Number of training sets, at least 2.
    loss : {"squared", "zero_one"}
        "squared" for numbers, "zero_one" for labels.
    key : Key, optional
        The key of the random training sets. Training set r is drawn with ``key.fold(r)``.

    Returns
    -------
    BiasVariance
        (loss, bias, variance, net_variance, predictions). ``net_variance`` is ``loss - bias``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or a model does not return one prediction for each row of X_test.

    Notes
    -----
    Sources: Geman, Bienenstock, Doursat (1992); Domingos (2000) for the zero-one loss. On average, a training set
    contains about 63% of the n rows, and some of these rows several times. So the loss is somewhat larger than the loss
    of a model that was trained on all rows.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> X, y = np.arange(100.0).reshape(-1, 1), np.tile([0.0, 2.0], 50)
    >>> fit = lambda X, y: lambda rows: np.full(len(rows), y.mean())
    >>> parts = bias_variance(fit, X, y, X, y, key=fs.Key(1))
    >>> round(parts.bias, 1), bool(0.005 < parts.variance < 0.02)
    (1.0, True)
    """
    call = "bias_variance"
    if loss not in ("squared", "zero_one"):
        raise ValueError(f'{call}: loss must be "squared" or "zero_one"; got {loss!r}')
    rows, targets, X_test, truth = (np.asarray(a) for a in (X, y, X_test, y_test))
    if len(rows) != len(targets) or not len(rows) or truth.shape != (len(X_test),) or not len(X_test):
        raise ValueError(
            f"{call}: X and X_test must not be empty, len(y) must equal len(X), and y_test must have the "
            f"shape (len(X_test),); got X {rows.shape}, y {targets.shape}, "
            f"X_test {X_test.shape}, y_test {truth.shape}"
        )
    if whole_number(f"{call}: rounds", rounds, 2**31) < 2:
        raise ValueError(f"{call}: rounds must be at least 2; got {rounds}")
    source, predictions = Key(0) if key is None else key_of(call, key), []
    for r in range(rounds):
        chosen = (uniform(len(rows), source.fold(r)) * len(rows)).astype(np.intp)
        found = np.asarray(predictor(f"{call}: the model from fit", fit(rows[chosen], targets[chosen]))(X_test))
        if found.size != truth.size:
            raise ValueError(
                f"{call}: the model from fit must return predictions of shape {truth.shape}; got {found.shape}"
            )
        predictions.append(found.reshape(truth.shape))
    return _decompose(np.stack(predictions), truth, loss)


def _decompose(predictions: Array, truth: Array, loss: str) -> BiasVariance:
    if loss == "squared":
        main: Array = predictions.mean(axis=0, dtype=np.float64)
        losses = [np.mean((a - b) ** 2) for a, b in ((predictions, truth), (main, truth), (predictions, main))]
    else:
        main = np.array([_most_frequent(column) for column in predictions.T])
        losses = [np.mean(a != b) for a, b in ((predictions, truth), (main, truth), (predictions, main))]
    total, bias, variance = map(float, losses)
    return BiasVariance(total, bias, variance, total - bias, predictions)


def _most_frequent(labels: Array) -> Any:
    values, counts = np.unique(labels, return_counts=True)
    return values[np.argmax(counts)]  # if several labels are equally frequent, the smallest of them
