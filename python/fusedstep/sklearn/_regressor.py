"""The regressor."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from .. import nn
from ..nn._memory import Array
from ._base import BaseMLP, can_go_on
from ._data import Data
from ._losses import HalfPoisson, SquaredError


class MLPRegressor(RegressorMixin, BaseMLP):
    """TODO."""

    loss: str

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        solver_params=None,
        l1_ratio=0.0,
        decay=None,
        clip_norm=None,
        warmup=0,
        dropout=0.0,
        batch_norm=False,
        weight_init=None,
        bias_init=None,
        sparsity=0.0,
        sparsity_penalty="l1",
        sparsity_target=0.05,
        pretraining=None,
        input_noise=0.0,
        weight_noise=0.0,
        mixup=0.0,
        ema_decay=None,
        snapshots=0,
        scoring=None,
        callbacks=None,
        dtype=None,
    ):
        self._take(locals())

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> MLPRegressor:
        return self._fit(X, y, sample_weight, X_val, y_val)

    @available_if(can_go_on)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None
    ) -> MLPRegressor:
        return self._fit(X, y, sample_weight, X_val, y_val, incremental=True)

    def predict(self, X: Any, mc_samples: int | None = None, return_std: bool = False) -> Any:
        if return_std and mc_samples is None:
            raise ValueError("return_std needs mc_samples: without dropout masks there is one answer")
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
            raise ValueError(f"y must have {self.n_outputs_} columns, as in the fit before; got {targets.shape[1]}")
        return targets

    def _make_loss(self) -> nn.Loss:
        self.out_activation_ = "exp" if self.loss == "poisson" else "identity"
        return HalfPoisson() if self.loss == "poisson" else SquaredError()

    def _plain_score(self, data: Data) -> float:
        predicted = self._predicted(data.x)
        if not np.isfinite(predicted).all():
            return float("nan")
        return float(r2_score(data.y, self._values(predicted), sample_weight=data.weights))
