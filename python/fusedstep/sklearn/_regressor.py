"""The regressor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from .. import nn
from .._base.arrays import Array
from ._base import BaseMLP, can_go_on
from ._data import Data
from ._losses import HalfPoisson, SquaredError
from ._parameters import OfNumbers


@dataclass(eq=False, repr=False)
class MLPRegressor(RegressorMixin, BaseMLP, OfNumbers):
    r"""A multi-layer perceptron for regression. It is faster than scikit-learn's and has more options.

    Every parameter, method and attribute of ``sklearn.neural_network.MLPRegressor`` exists here with the same
    meaning. `MLPClassifier` describes them and the additional parameters.

    ::

        name            loss of one row                          prediction
        squared_error   1/2 (f(x) - y)^2                         f(x)
        poisson         y log(y / exp(f(x))) - y + exp(f(x))     exp(f(x))

    f(x) is the output of the network before the last activation.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}
        The loss that the training minimises. "poisson" needs y >= 0.
    **parameters
        All parameters of `MLPClassifier` except `class_weight` and `label_smoothing`. If `scoring` is None, the score
        is R^2.

    Attributes
    ----------
    **attributes
        All attributes of `MLPClassifier` except `classes_`.

    Raises
    ------
    ValueError, TypeError
        If parameters or data are not as described, if parameters contradict each other, or if the loss is not finite.
        With ``early_stopping=True``, a loss that is not finite causes a warning instead, if a validation score was
        finite before.

    Notes
    -----
    y may have several columns. The training then minimises the sum of the losses of the columns. With "squared_error",
    `loss_curve_` contains the mean over the columns instead of the sum. scikit-learn does the same.

    Examples
    --------
    >>> from fusedstep.sklearn import MLPRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = MLPRegressor(hidden_layer_sizes=(32,), dropout=0.2, learning_rate="cosine", learning_rate_init=0.01,
    ...                      max_iter=50, random_state=0)
    >>> mean, std = model.fit(X * 20, y / 100).predict(X[:3] * 20, mc_samples=50, return_std=True)
    >>> mean.shape, bool((std > 0).all())
    ((3,), True)
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> MLPRegressor:
        """Train on X and y.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, features)
        y : array-like, shape (n,) or (n, targets)
        sample_weight : array-like, shape (n,), optional
            Weight of each row in the loss, >= 0.
        X_val, y_val : like X and y, optional
            Validation rows. If they are given, `early_stopping` holds out no rows of X.
        """
        return self._fit(X, y, sample_weight, X_val, y_val)

    @available_if(can_go_on)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None
    ) -> MLPRegressor:
        """Train for one more epoch on these rows. `fit` describes the arguments."""
        return self._fit(X, y, sample_weight, X_val, y_val, incremental=True)

    def predict(self, X: Any, mc_samples: int | None = None, return_std: bool = False) -> Any:
        """Return the predicted numbers.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, features)
        mc_samples : int, optional
            If given, return the mean of the predictions with this many dropout masks. The model must have
            `dropout` > 0. The masks of a row depend on the index of the row in X, so the same row at another index has
            another result.
        return_std : bool
            If True, return (predictions, standard deviations of the predictions over the masks). This needs
            `mc_samples`.
        """
        if return_std and mc_samples is None:
            raise ValueError(
                "return_std needs mc_samples, the number of dropout masks to predict with; got mc_samples=None"
            )
        x = self._checked(X)
        if mc_samples is None:
            return self._values(self._predicted(x))
        mean, std = self._sampled(x, mc_samples)
        return (self._values(mean), self._values(std)) if return_std else self._values(mean)

    def _values(self, y: Array) -> Array:
        return y[:, 0] if y.shape[1] == 1 else y

    _y_checks = {"y_numeric": True}

    def _encode(self, y: Any, first: bool, incremental: bool) -> Array:
        targets = y.reshape(len(y), -1)
        if self.loss == "poisson" and targets.min() < 0:
            raise ValueError(f"loss='poisson' needs y >= 0; got {targets.min()}")
        if first:
            self.n_outputs_ = targets.shape[1]
        elif targets.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y must have {self.n_outputs_} columns, one for each output of the network; got {targets.shape[1]}"
            )
        return targets

    def _make_loss(self) -> nn.Loss:
        self.out_activation_ = "exp" if self.loss == "poisson" else "identity"
        return HalfPoisson() if self.loss == "poisson" else SquaredError()

    def _plain_score(self, data: Data) -> float:
        predicted = self._predicted(data.x)
        if not np.isfinite(predicted).all():
            return float("nan")
        return float(r2_score(data.y, self._values(predicted), sample_weight=data.weights))
