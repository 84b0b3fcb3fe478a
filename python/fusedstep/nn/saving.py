"""A trained model with all that is needed to use it on new data, in one safetensors file.

The file holds arrays and one JSON text under one metadata key: the format's library writes several keys in an
order that changes from run to run, and the same training must give the same bytes.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._base.arrays import Array, describe, is_plain
from .._base.checks import number, positive
from .._base.files import read_tensors, replacing
from .._base.optional import need
from ..ops.philox import Key
from ._described import described, layer
from ._layer import Layer
from .losses import softmax
from .sampling import SampledPrediction, predict_samples
from .sequential import Sequential

KEY, FORMAT = "fusedstep", 1


@dataclass
class TrainedModel:
    """A network with the scaling of its inputs and the meaning of its outputs.

    Attributes
    ----------
    model : Sequential
        The network; it sees ``(X - input_mean) / input_scale``.
    task : {"classification", "regression"}
        What the outputs are: logits of the classes, or ``(y - target_mean) / target_scale``.
    input_mean, input_scale : ndarray, shape (in_features,)
        Statistics of the training inputs.
    feature_names : list of str
        Names of the input columns, in order; may be empty.
    classes : list
        Class names (or numbers) in the order of the outputs; empty for regression.
    target_mean, target_scale : float
        Statistics of the training targets of a regression.

    Raises
    ------
    ValueError
        If these do not fit together, or a statistic is not finite, or a scale not above 0.
    """

    model: Sequential
    task: str
    input_mean: Array
    input_scale: Array
    feature_names: list[str] = field(default_factory=list)
    classes: list[Any] = field(default_factory=list)
    target_mean: float = 0.0
    target_scale: float = 1.0

    def __post_init__(self) -> None:
        _check_parts(self)

    def transform(self, X: npt.ArrayLike) -> Array:
        """Return inputs as the network wants them: standardised, in its dtype.

        Raises
        ------
        ValueError
            If X is not a matrix of finite numbers of the right width.
        """
        rows = np.asarray(X, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.input_mean) or not np.isfinite(rows).all():
            raise ValueError(
                f"TrainedModel: X must be finite numbers of shape (n, {len(self.input_mean)}); "
                f"got shape {rows.shape}{'' if np.isfinite(rows).all() else ' with nan or inf'}"
            )
        return ((rows - self.input_mean) / self.input_scale).astype(self.model.dtype)

    def predict(self, X: npt.ArrayLike) -> Array:
        """Return the class of each row, or its value in the units of the training target."""
        outputs = self.model.predict(self.transform(X))
        if self.task == "classification":
            found: Array = np.asarray(self.classes)[outputs.argmax(axis=1)]
            return found
        return outputs[:, 0].astype(np.float64) * self.target_scale + self.target_mean

    def predict_proba(self, X: npt.ArrayLike) -> Array:
        """Probabilities of the classes, one column each.

        Raises
        ------
        ValueError
            If the model is a regression.
        """
        if self.task != "classification":
            raise ValueError(f"TrainedModel.predict_proba: task must be classification; got {self.task}")
        return softmax(self.model.predict(self.transform(X)))

    def predict_samples(self, X: npt.ArrayLike, k: int, key: Key | int = 0) -> SampledPrediction:
        """Return mean predictions over k dropout masks, with an uncertainty per row.

        Parameters
        ----------
        X : array_like, shape (n, features)
            Raw features.
        k : int
            Number of masks, >= 1.
        key : Key or int
            Names the masks: the same key, the same answer.

        Returns
        -------
        SampledPrediction
            (prediction, uncertainty, mean, variance)

        Raises
        ------
        TypeError, ValueError
            As `Sequential.predict_samples`, or if X is not a matrix of finite numbers of the right width.
        """
        return predict_samples(self, X, k, key)

    def description(self) -> dict[str, Any]:
        """Everything but the arrays, fit for JSON."""
        layers = [described(own) for own in self.model.layers]
        return {
            "format": FORMAT,
            "task": self.task,
            "layers": layers,
            "dtype": self.model.dtype.name,
            "feature_names": self.feature_names,
            "classes": self.classes,
            "target_mean": self.target_mean,
            "target_scale": self.target_scale,
        }


def save(path: str | os.PathLike[str], trained: TrainedModel) -> None:
    """Write a trained model: to a temporary file beside it first, so that a failure leaves the old one.

    Parameters
    ----------
    path : path
        Usually ending in ``.safetensors``.
    trained : TrainedModel
        The same model gives the same bytes.

    Raises
    ------
    TypeError, ValueError
        If `trained` is something else, has a layer that `load` would not know, or was given parts that do not fit.
    OSError
        If the file cannot be written.
    ImportError
        If safetensors is not installed.

    Notes
    -----
    The file holds arrays and plain text: nothing in it is executed when it is read, unlike a pickle.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> model = nn.Sequential(nn.Linear(2, 1), rng=0)
    >>> trained = nn.TrainedModel(model, "regression", np.zeros(2), np.ones(2), ("a", "b"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     nn.save(path := os.path.join(folder, "model.safetensors"), trained)
    ...     again = nn.load(path)
    >>> rows = np.ones((3, 2))
    >>> bool((again.predict(rows) == trained.predict(rows)).all())
    True
    """
    if not isinstance(trained, TrainedModel):
        raise TypeError(f"nn.save: trained must be a TrainedModel; got {type(trained).__name__}")
    _check_parts(trained)
    arrays = {f"model.{name}": array for name, array in trained.model.state_dict().items()}
    arrays |= {"input.mean": trained.input_mean, "input.scale": trained.input_scale}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(trained.description(), sort_keys=True, separators=(",", ":"))
    data = need("safetensors.numpy", "safetensors").save(arrays, metadata={KEY: text})
    with replacing(path) as temporary:
        Path(temporary).write_bytes(data)


def load(path: str | os.PathLike[str]) -> TrainedModel:
    """Read a model that `save` or ``fusedstep train`` wrote.

    Parameters
    ----------
    path : path
        The ``.safetensors`` file.

    Returns
    -------
    TrainedModel
        Ready to ``predict`` on rows of raw features.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If it is not such a file, or its parts do not fit together.
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> load("nowhere.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.safetensors'
    """
    need("safetensors", "safetensors")
    name, text, arrays = read_tensors("nn.load", path)
    try:
        return _assemble(json.loads(text), arrays)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"nn.load: {name!r} does not describe a model: {error}") from None


def _assemble(about: dict[str, Any], arrays: dict[str, Array]) -> TrainedModel:
    if type(about["format"]) is not int or about["format"] != FORMAT:
        raise ValueError(f"its format must be {FORMAT}; got {about['format']!r}")
    for name in ("feature_names", "classes", "layers"):
        if not isinstance(about[name], list):
            raise ValueError(f"its {name} must be a list; got {about[name]!r}")
    unknown = [name for name in arrays if not name.startswith("model.") and name not in ("input.mean", "input.scale")]
    if unknown:
        raise ValueError(f"its tensor {unknown[0]!r} belongs to no part of a model")
    layers = [layer(config) for config in about["layers"]]
    weights = {name.removeprefix("model."): a for name, a in arrays.items() if name.startswith("model.")}
    _check_size(layers, weights)
    model = Sequential(*layers, dtype=about["dtype"], rng=0)
    model.load_state_dict(weights)
    mean, scale = arrays["input.mean"], arrays["input.scale"]
    parts = (about[name] for name in ("feature_names", "classes", "target_mean", "target_scale"))
    return TrainedModel(model, about["task"], mean, scale, *parts)


def _check_parts(trained: TrainedModel) -> None:
    model, task, classes = trained.model, trained.task, trained.classes
    for name in ("input_mean", "input_scale"):
        array = getattr(trained, name)
        if not is_plain(array) or array.shape != (model.in_features,) or array.dtype.kind not in "iuf":
            raise ValueError(
                f"TrainedModel: {name} must be numbers of shape ({model.in_features},); got {describe(array)}"
            )
        if not np.isfinite(array).all() or (name == "input_scale" and not array.min() > 0):
            raise ValueError(f"TrainedModel: {name} must be finite{' and above 0' * (name == 'input_scale')}")
    number("TrainedModel: target_mean", trained.target_mean)
    positive("TrainedModel: target_scale", trained.target_scale)
    if not all(isinstance(name, str) for name in trained.feature_names):
        raise ValueError(f"TrainedModel: feature_names must be texts; got {trained.feature_names!r}")
    if len(trained.feature_names) not in (0, model.in_features):
        raise ValueError(f"TrainedModel: feature_names must be 0 or {model.in_features}; got {trained.feature_names!r}")
    if not all(isinstance(name, (str, int, float)) for name in classes) or len(set(classes)) < len(classes):
        raise ValueError(f"TrainedModel: classes must be different texts or numbers; got {classes!r}")
    if model.out_features != {"classification": len(classes), "regression": 1}.get(str(task)):
        raise ValueError(f"TrainedModel: {model.out_features} outputs do not fit {task!r} with {len(classes)} classes")


def _check_size(layers: list[Layer], weights: dict[str, Array]) -> None:
    """Refuse a description that would allocate more than the file holds."""
    sizes = (layer.param_shapes() | layer.buffer_shapes() | layer.counter_shapes() for layer in layers)
    shapes = [shape for own in sizes for shape in own.values()]
    need, found = sum(map(math.prod, shapes)), sum(array.size for array in weights.values())
    if need != found:
        raise ValueError(f"its layers need {need} numbers; it holds {found}")
