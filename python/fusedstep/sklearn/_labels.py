"""The labels, targets, class weights and loss of a classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels

from .. import nn
from .._base.arrays import Array
from .._base.checks import non_negative
from ._augment import soft_labels
from ._base import BaseMLP
from ._data import Data
from ._losses import LogLoss
from ._parameters import OfClasses


class Labels(BaseMLP, OfClasses):
    """A network for rows that each have one of two classes, one of more classes, or several labels."""

    classes_: Array
    _label_binarizer: Any

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
            raise ValueError(
                "class_weight must be a dict for partial_fit, which gets only a part of the rows; got 'balanced'"
            )
        if isinstance(self.class_weight, dict):
            for label, weight in self.class_weight.items():
                non_negative(f"class_weight[{label!r}]", weight)
        return compute_sample_weight(self.class_weight, y)

    def _strata(self, data: Data) -> Any:
        if self.n_outputs_ != 1:
            return None
        # scikit-learn stratifies by the same values, and so holds out the same rows
        return self._label_binarizer.transform(data.y).astype(bool)

    def _rare(self, data: Data) -> str:
        names, counts = np.unique(data.y, return_counts=True)
        rare = names[counts < 2].tolist()
        return f" In y, the following classes have only one row: {rare}." if rare else ""
