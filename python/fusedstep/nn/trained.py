"""A network with the names and scaling of its inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base.arrays import Array, describe, is_base_ndarray
from .._base.checks import non_negative, number, positive
from ..ops.philox import Key
from ._described import described
from .losses import softmax
from .sampling import SampledPrediction, predict_samples
from .sequential import Sequential

if TYPE_CHECKING:
    from ..tables import Columns

# Versions of the description in a file. In version 1, "task" is always a text, and there is never an entry "columns".
FORMATS = (1, 2)


@dataclass
class TrainedModel:
    """A network with the scaling of its inputs and the meaning of its outputs.

    Attributes
    ----------
    model : Sequential
        The network. For rows X of features, its inputs are ``(X - input_mean) / input_scale``.
    task : {"classification", "regression"}
        For a classification, the outputs of the network are logits of the classes. For a regression, the only output is
        ``(y - target_mean) / target_scale`` for the predicted value y.
    input_mean, input_scale : ndarray, shape (in_features,)
        The scaling of the inputs: usually the mean and the standard deviation of each column in the training rows.
    feature_names : list of str
        Names of the features, in the order of the columns of X; may be empty.
    classes : list
        Class names (or numbers) in the order of the outputs. Empty for a regression.
    target_mean, target_scale : float
        The scaling of the target of a regression: usually the mean and the standard deviation in the training rows.
    columns : tables.Columns, optional
        Converts the columns of a table into the features X. If `columns` is given, ``feature_names`` must be
        ``columns.outputs``, the names of these features.
    target_name : str
        Name of the column that is predicted; may be empty.
    error : float, optional
        For a regression: half the width of the 90 % prediction interval, in the units of the target. In at least
        90 % of the validation rows, the absolute error was at most this number.

    Raises
    ------
    ValueError
        If the attributes do not fit together, a mean or a scale is not finite, or a scale is not above 0.
    """

    model: Sequential
    task: str
    input_mean: Array
    input_scale: Array
    feature_names: list[str] = field(default_factory=list)
    classes: list[Any] = field(default_factory=list)
    target_mean: float = 0.0
    target_scale: float = 1.0
    columns: Columns | None = None
    target_name: str = ""
    error: float | None = None

    def __post_init__(self) -> None:
        check_parts(self)

    def __repr__(self) -> str:
        """Return a few lines: what the model predicts, its inputs and its layers."""
        names = [layer.__class__.__name__ for layer in self.model.layers]
        kinds = f" into {len(self.classes)} classes: {_few(self.classes)}" if self.classes else ""
        of = f" of {self.target_name!r}" if self.target_name else ""
        inputs = f": {_few(self.feature_names)}" if self.feature_names else ""
        return (
            f"TrainedModel({self.task}{of}{kinds}\n"
            f"  inputs: {len(self.input_mean)} features{inputs}\n"
            f"  network: {len(names)} layers, {self.model.arena.size:,} weights, {self.model.dtype}: {_few(names)})"
        )

    def transform(self, X: Any) -> Array:
        """Return the inputs of the network: standardised, and in the network's dtype.

        Parameters
        ----------
        X : pandas.DataFrame or array_like
            The columns of a table are found by name, in any order. An array must have one column per feature, in the
            order of the inputs of the network. If ``feature_names`` is empty, a table is used like an array.

        Raises
        ------
        ValueError
            If a table lacks a column or has additional columns, or if X is not a matrix of finite numbers with one
            column per feature.
        """
        rows = np.asarray(self._by_name(X), dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.input_mean) or not np.isfinite(rows).all():
            raise ValueError(
                f"TrainedModel: X must be finite numbers of shape (n, {len(self.input_mean)}); "
                f"got shape {rows.shape}{'' if np.isfinite(rows).all() else ' with nan or inf'}"
            )
        return ((rows - self.input_mean) / self.input_scale).astype(self.model.dtype)

    def _by_name(self, X: Any) -> Any:
        """Return the features from a table, in the order of ``feature_names``. Return any other X unchanged."""
        if not hasattr(X, "columns") or not self.feature_names:
            return X
        frame = X.to_pandas() if hasattr(X, "to_pandas") else X
        if self.columns is not None:
            return self.columns.transform(frame)
        there, needed = [str(name) for name in frame.columns], self.feature_names
        lacks = [name for name in needed if name not in set(there)]
        extra = [name for name in there if name not in set(needed)]
        for what, names in (("does not have", lacks), ("also has", extra)):
            if names:
                raise ValueError(f"TrainedModel: X must have the columns {needed}; X {what} {names}")
        return frame.iloc[:, [there.index(name) for name in needed]]

    def predict(self, X: Any) -> Array:
        """Return the predicted class of each row, or for a regression the predicted number, in the target's units."""
        outputs = self.model.predict(self.transform(X))
        if self.task == "classification":
            found: Array = np.asarray(self.classes)[outputs.argmax(axis=1)]
            return found
        return outputs[:, 0].astype(np.float64) * self.target_scale + self.target_mean

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes, one column per class.

        Raises
        ------
        ValueError
            If the model is a regression.
        """
        if self.task != "classification":
            raise ValueError(f"TrainedModel.predict_proba: task must be classification; got {self.task}")
        return softmax(self.model.predict(self.transform(X)))

    def predict_samples(self, X: Any, k: int, key: Key | int = 0) -> SampledPrediction:
        """Return a prediction and its uncertainty for each row, from k runs of the network with dropout.

        Parameters
        ----------
        X : pandas.DataFrame, or array_like of shape (n, features)
            Features that are not scaled.
        k : int
            Number of runs, >= 1. Each run has other dropout masks.
        key : Key or int
            The same key gives the same masks. An int is the seed of a key.

        Returns
        -------
        SampledPrediction
            For each row: the prediction, its uncertainty, and the mean and variance over the runs. In a classification,
            these are the mean and variance of the probabilities; in a regression, of the predicted values.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described, or if the network has no layer that draws random numbers, such as
            `Dropout`.
        """
        return predict_samples(self, X, k, key)

    def description(self) -> dict[str, Any]:
        """Return all attributes as JSON data, except the weights, ``input_mean`` and ``input_scale``."""
        known = {
            "format": FORMATS[0] if self.columns is None else FORMATS[1],
            "task": self.task,
            "layers": [described(layer) for layer in self.model.layers],
            "dtype": self.model.dtype.name,
            "feature_names": self.feature_names,
            "classes": self.classes,
            "target_mean": self.target_mean,
            "target_scale": self.target_scale,
        }
        columns = self.columns.description() if self.columns is not None else None
        more = {"columns": columns, "target_name": self.target_name, "error": self.error}
        return known | {name: value for name, value in more.items() if value not in (None, "")}

    @classmethod
    def of(cls, model: Sequential, about: Mapping[str, Any], input_mean: Array, input_scale: Array) -> TrainedModel:
        """Make a trained model from its parts. `about` is the result of the method `description` of a trained model.

        Raises
        ------
        ValueError
            If the parts do not fit together.
        """
        columns = None
        if "columns" in about:
            from ..tables import Columns

            columns = Columns.of(about["columns"])
        names = ("task", "feature_names", "classes", "target_mean", "target_scale")
        known = {name: about[name] for name in names}
        more = {name: about[name] for name in ("target_name", "error") if name in about}
        return cls(model, input_mean=input_mean, input_scale=input_scale, columns=columns, **known, **more)


def check_parts(trained: TrainedModel) -> None:
    """Refuse attributes that do not fit together."""
    model, task, classes = trained.model, trained.task, trained.classes
    for name in ("input_mean", "input_scale"):
        array = getattr(trained, name)
        if not is_base_ndarray(array) or array.shape != (model.in_features,) or array.dtype.kind not in "iuf":
            raise ValueError(
                f"TrainedModel: {name} must be numbers of shape ({model.in_features},); got {describe(array)}"
            )
        is_scale = name == "input_scale"
        if not np.isfinite(array).all() or (is_scale and not array.min() > 0):
            raise ValueError(f"TrainedModel: {name} must be finite{' and above 0' * is_scale}; got {array}")
    number("TrainedModel: target_mean", trained.target_mean)
    positive("TrainedModel: target_scale", trained.target_scale)
    if not all(isinstance(name, str) for name in trained.feature_names):
        raise ValueError(f"TrainedModel: feature_names must be strings; got {trained.feature_names!r}")
    if len(trained.feature_names) not in (0, model.in_features):
        raise ValueError(
            f"TrainedModel: feature_names must be empty or {model.in_features} names; got {trained.feature_names!r}"
        )
    if not all(isinstance(name, (str, int, float)) for name in classes) or len(set(classes)) < len(classes):
        raise ValueError(f"TrainedModel: classes must be different strings or numbers; got {classes!r}")
    if model.out_features != {"classification": len(classes), "regression": 1}.get(str(task)):
        raise ValueError(
            "TrainedModel: task must be 'classification' and model must have one output for each class, or task must "
            f"be 'regression' and model must have one output; got task={task!r}, {model.out_features} outputs and "
            f"{len(classes)} classes"
        )
    _check_columns(trained)


def _check_columns(trained: TrainedModel) -> None:
    if not isinstance(trained.target_name, str):
        raise ValueError(f"TrainedModel: target_name must be a string; got {trained.target_name!r}")
    if trained.error is not None:
        non_negative("TrainedModel: error", trained.error)
    if trained.columns is not None and trained.columns.outputs != trained.feature_names:
        raise ValueError(
            f"TrainedModel: feature_names must be columns.outputs, {trained.columns.outputs}; "
            f"got {trained.feature_names!r}"
        )


def _few(items: Sequence[Any]) -> str:
    """Return the items as one text of at most 60 characters. A longer text is cut."""
    shown = ", ".join(map(str, items))
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
