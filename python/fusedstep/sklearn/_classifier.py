"""The classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, check_classification_targets, unique_labels

from .. import nn
from ..nn._memory import Array
from ._augment import soft_labels
from ._base import BaseMLP, can_go_on
from ._data import Data
from ._losses import LogLoss


class MLPClassifier(ClassifierMixin, BaseMLP):
    """TODO."""

    classes_: Array

    def __init__(
        self,
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
        class_weight=None,
        label_smoothing=0.0,
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

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> MLPClassifier:
        return self._fit(X, y, sample_weight, X_val, y_val)

    @available_if(can_go_on)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None, *, X_val: Any = None, y_val: Any = None
    ) -> MLPClassifier:
        if _check_partial_fit_first_call(self, classes):
            self._learn_classes(y if np.ndim(y) == 2 else classes)
        return self._fit(X, y, sample_weight, X_val, y_val, incremental=True)

    def predict(self, X: Any) -> Array:
        return self._labels(self._predicted(self._checked(X)))

    def predict_proba(self, X: Any, mc_samples: int | None = None, return_std: bool = False) -> Any:
        if return_std and mc_samples is None:
            raise ValueError("return_std needs mc_samples: without dropout masks there is one answer")
        x = self._checked(X)
        p, std = (self._predicted(x), None) if mc_samples is None else self._sampled(x, mc_samples)
        if self.n_outputs_ == 1:
            p, std = np.hstack([1 - p, p]), None if std is None else np.hstack([std, std])
        return (p, std) if return_std else p

    def predict_log_proba(self, X: Any) -> Array:
        return np.log(self.predict_proba(X))

    def _labels(self, p: Array) -> Array:
        return self._label_binarizer.inverse_transform(p.ravel() if self.n_outputs_ == 1 else p)

    def _plain_score(self, data: Data) -> float:
        return float(accuracy_score(data.y, self._labels(self._predicted(data.x)), sample_weight=data.weights))

    def _learn_classes(self, y: Any) -> None:
        self._label_binarizer = LabelBinarizer().fit(y)
        self.classes_ = self._label_binarizer.classes_

    def _encode(self, y: Any, first: bool, incremental: bool) -> Array:
        check_classification_targets(y)
        if first and not incremental:
            self._learn_classes(y)
        else:
            self._check_classes(y, incremental)
        if self._label_binarizer.y_type_ == "multiclass":
            return np.searchsorted(self.classes_, y)
        return self._label_binarizer.transform(y).astype(bool)

    def _softened(self, targets: Array, dtype: Any) -> Array:
        return soft_labels(targets, self.label_smoothing, self.mixup > 0, len(self.classes_), dtype)

    def _check_classes(self, y: Any, incremental: bool) -> None:
        found = unique_labels(y)
        if not incremental and not np.array_equal(found, self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {found}"
            )
        if len(np.setdiff1d(found, self.classes_)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {found}."
            )

    def _make_loss(self) -> nn.Loss:
        kind = self._label_binarizer.y_type_
        self.out_activation_ = "softmax" if kind == "multiclass" else "logistic"
        self.n_outputs_ = 1 if kind == "binary" else len(self.classes_)
        return nn.SoftmaxNLL() if kind == "multiclass" else LogLoss()

    def _class_weights(self, y: Array, incremental: bool) -> Array | None:
        if self.class_weight is None:
            return None
        if incremental and self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' cannot be known from a part of the rows: give partial_fit a dict")
        return compute_sample_weight(self.class_weight, y)

    @property
    def _stratifies(self) -> bool:
        return self.n_outputs_ == 1

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
