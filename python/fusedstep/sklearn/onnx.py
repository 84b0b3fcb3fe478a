"""Convert estimators to ONNX with skl2onnx. Install it with ``pip install 'fusedstep[onnx]'``.

Examples
--------
>>> import numpy as np
>>> from skl2onnx import to_onnx
>>> from fusedstep.sklearn import MLPRegressor, onnx
>>> onnx.register()
>>> X = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
>>> model = MLPRegressor((8,), learning_rate="cosine", max_iter=5, random_state=0).fit(X, X[:, 0])
>>> onnx_model = to_onnx(model, X[:1])
>>> [output.name for output in onnx_model.graph.output]
['variable']
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import nn
from .._base.optional import need
from . import MLPClassifier, MLPRegressor

__all__ = ["register"]

ACTIVATIONS = {nn.ReLU: "Relu", nn.Tanh: "Tanh", nn.Sigmoid: "Sigmoid"}
IDENTITIES = (nn.Dropout, nn.ActivityPenalty)  # in a prediction, these layers return their input


def register() -> None:
    """Register converters in skl2onnx for the estimators `MLPClassifier` and `MLPRegressor` of this package.

    The converted model makes the same predictions as the estimator, up to rounding. It contains the running statistics
    of batch norm. For an estimator with `ema_decay`, it contains the averaged weights. For an estimator with
    `snapshots`, it contains all copies of the network.

    Raises
    ------
    ImportError
        If skl2onnx is not installed. Install it with ``pip install 'fusedstep[onnx]'``.
    """
    skl2onnx = need("skl2onnx", "skl2onnx", extra="onnx")
    shapes = need("skl2onnx.common.shape_calculator", "skl2onnx", extra="onnx")
    options = {"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [False, True]}
    for cls, calculate, convert, known in (
        (MLPClassifier, shapes.calculate_linear_classifier_output_shapes, _classifier, options),
        (MLPRegressor, shapes.calculate_linear_regressor_output_shapes, _regressor, {}),
    ):
        alias = f"Fusedstep{cls.__name__}"
        skl2onnx.update_registered_converter(cls, alias, calculate, convert, options=known, overwrite=True)


class Graph:
    """Adds the nodes of a network to the ONNX graph that skl2onnx makes."""

    def __init__(self, scope: Any, container: Any, dtype: Any) -> None:
        self._scope, self._container, self.dtype = scope, container, np.dtype(dtype)

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add an operation and return the name of its output."""
        name = output or self._scope.get_unique_variable_name(kind.lower())
        title = self._scope.get_unique_operator_name(kind)
        version = {"BatchNormalization": 15, "Softmax": 13}.get(kind)
        more = {} if version is None else {"op_version": version}
        self._container.add_node(kind, list(inputs), name, name=title, **more, **attributes)
        return name

    def constant(self, values: Any, integer: bool = False) -> str:
        """Add an array and return its name."""
        types = need("onnx", "onnx", extra="onnx").TensorProto
        kind = types.INT64 if integer else types.DOUBLE if self.dtype == np.float64 else types.FLOAT
        array = np.asarray(values, np.int64 if integer else self.dtype)
        name: str = self._scope.get_unique_variable_name("constant")
        self._container.add_initializer(name, kind, list(array.shape), array.ravel().tolist())
        return name

    def network(self, layers: Iterable[nn.Layer], x: str) -> str:
        """Add layers in order, and return the name of the last output."""
        for layer in layers:
            x = self.layer(layer, x)
        return x

    def layer(self, layer: nn.Layer, x: str) -> str:
        """Add one layer, and return the name of its output."""
        kind = type(layer)
        if isinstance(layer, nn.Linear):
            y = self.node("MatMul", x, self.constant(layer.params["weight"]))
            return self.node("Add", y, self.constant(layer.params["bias"])) if "bias" in layer.params else y
        if isinstance(layer, nn.BatchNorm):
            return self._batch_norm(layer, x)
        if isinstance(layer, nn.Residual):
            *inner, norm = layer.sublayers
            assert isinstance(norm, nn.BatchNorm)
            return self._batch_norm(norm, self.network(inner, x), residual=x)
        if kind in ACTIVATIONS:
            return self.node(ACTIVATIONS[kind], x)
        if kind is nn.HardTanh:
            return self.node("Min", self.node("Max", x, self.constant(-1.0)), self.constant(1.0))
        if isinstance(layer, IDENTITIES):
            return x
        raise TypeError(f"onnx: layers must be those of fusedstep.nn; got {layer!r}")

    def _batch_norm(self, layer: nn.BatchNorm, x: str, residual: str | None = None) -> str:
        """Add the nodes for ``gamma (x - mean) / sqrt(var + eps) + beta + residual``, and for the layer's ReLU."""
        kept = {name: np.asarray(array, np.float64) for name, array in {**layer.params, **layer.buffers}.items()}
        scale = kept.get("gamma", 1.0) / np.sqrt(kept["running_var"] + layer.config()["eps"])
        shift = kept.get("beta", 0.0) - kept["running_mean"] * scale
        y = self.node("Add", self.node("Mul", x, self.constant(scale)), self.constant(shift))
        y = y if residual is None else self.node("Add", y, residual)
        return self.node("Relu", y) if layer.config()["relu"] else y


def _outputs(scope: Any, operator: Any, container: Any) -> tuple[Graph, str]:
    """Add all networks of an estimator with their last activation, and the mean of their outputs.

    Return the graph and the name of this mean.
    """
    estimator = operator.raw_operator
    double = type(operator.inputs[0].type).__name__ == "DoubleTensorType"
    graph, x = Graph(scope, container, np.float64 if double else np.float32), operator.inputs[0].full_name
    if "Float" not in type(operator.inputs[0].type).__name__ and not double:
        x = graph.node("Cast", x, to=1)
    answers = [
        _activated(graph, graph.network(model.layers, x), estimator.out_activation_) for model in estimator._models
    ]
    for one, other in itertools.pairwise(range(len(answers))):
        answers[other] = graph.node("Add", answers[one], answers[other])
    if len(answers) == 1:
        return graph, answers[0]
    return graph, graph.node("Mul", answers[-1], graph.constant(1.0 / len(answers)))


def _activated(graph: Graph, outputs: str, activation: str) -> str:
    if activation == "softmax":
        return graph.node("Softmax", outputs, axis=1)
    kinds = {"logistic": "Sigmoid", "exp": "Exp"}
    return graph.node(kinds[activation], outputs) if activation in kinds else outputs


def _regressor(scope: Any, operator: Any, container: Any) -> None:
    graph, y = _outputs(scope, operator, container)
    graph.node("Identity", y, output=operator.outputs[0].full_name)


def _classifier(scope: Any, operator: Any, container: Any) -> None:
    estimator = operator.raw_operator
    graph, p = _outputs(scope, operator, container)
    label, probabilities = (output.full_name for output in operator.outputs)
    if estimator._label_binarizer.y_type_.startswith("multilabel"):
        half = graph.constant(0.5)
        graph.node("Cast", graph.node("Greater", p, half), output=label, to=7)
        graph.node("Identity", p, output=probabilities)
        return
    if estimator.n_outputs_ == 1:
        p = graph.node("Concat", graph.node("Sub", graph.constant(1.0), p), p, axis=1)
    graph.node("Identity", p, output=probabilities)
    best = graph.node("ArgMax", p, axis=1, keepdims=0)
    classes = estimator.classes_
    if classes.dtype.kind in "iub":
        graph.node("Gather", graph.constant(classes.astype(np.int64), integer=True), best, output=label)
        return
    names = scope.get_unique_variable_name("classes")
    texts = [str(name).encode() for name in classes]
    container.add_initializer(names, need("onnx", "onnx", extra="onnx").TensorProto.STRING, [len(texts)], texts)
    graph.node("Gather", names, best, output=label)
