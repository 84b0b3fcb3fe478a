"""A network of layers in sequence. One array holds all parameters. A second array holds all gradients."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .._base.arrays import Array, Shape, assign, describe, float_dtype, is_base_ndarray
from .._base.checks import whole_number
from .._base.memory import aligned_zeros, carve
from ..ops.moments import Moments, dropout_moments
from ..ops.philox import Key
from ._layer import Layer
from ._stack import (
    Recipe,
    allow_in_place,
    check_layers,
    every,
    fit_widths,
    forward_passes,
    make,
    numbered,
    recipe,
    total_penalty,
)

PREDICT_ROWS = 1024  # most rows per forward pass in `predict`, so that the scratch memory stays small


class Sequential:
    """A network of layers in sequence. One contiguous array holds all parameters. A second array holds all gradients.

    Parameters
    ----------
    *layers : Layer
        At least one layer. No layer may occur twice or belong to another model. The input of each layer must be as wide
        as the output of the layer before.
    dtype : dtype
        The dtype of parameters, gradients, inputs and outputs: float32 or float64.
    rng : None, int or numpy.random.Generator
        Seed of the initial weights, or the generator that draws them. None: a different seed each time.

    Attributes
    ----------
    arena, grad_arena : ndarray
        One-dimensional arrays. ``arena`` holds the parameters of all layers, from the first layer to the last.
        ``grad_arena`` holds their gradients in the same order.
    params, grads : dict of str to ndarray
        Each parameter as a view of ``arena``, and its gradient as a view of ``grad_arena``. The name "0.weight" is the
        ``weight`` of layer 0. Make an optimizer with ``params``, and pass ``grads`` to its ``step``.
    buffers : dict of str to ndarray
        Other arrays of the layers, such as running statistics. They are saved with the model but not optimised.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), rng=0)
    >>> loss = nn.SoftmaxNLL()
    >>> x, labels = np.ones((5, 4), np.float32), np.array([0, 1, 2, 0, 1])
    >>> value, dy = loss.value_and_gradient(model.forward(x, training=True), labels)
    >>> model.backward(dy)
    >>> list(model.grads)
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(
        self,
        *layers: Layer,
        dtype: npt.DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.layers, self.dtype = layers, float_dtype("Sequential", dtype)
        check_layers("Sequential", layers)
        self.in_features, self.out_features = fit_widths("Sequential", layers)
        self._place_memory()
        allow_in_place(layers)
        self._passes = forward_passes(layers)
        generator = np.random.default_rng(rng)
        for layer in layers:
            layer.initialize(generator)
        self._output: Array | None = None
        self._predicting = threading.Lock()

    def _place_memory(self) -> None:
        trained = numbered([layer.param_shapes() for layer in self.layers])
        self.arena, self.params = _arena(trained, self.dtype)
        self.grad_arena, self.grads = _arena(trained, self.dtype)
        _, kept = _arena(numbered([layer.buffer_shapes() for layer in self.layers]), self.dtype)
        _, counters = _arena(numbered([layer.counter_shapes() for layer in self.layers]), np.int64)
        self.buffers = kept | counters
        for i, layer in enumerate(self.layers):
            own_params = layer.param_shapes()
            own_buffers = layer.buffer_shapes() | layer.counter_shapes()
            layer.attach(
                {name: self.params[f"{i}.{name}"] for name in own_params},
                {name: self.grads[f"{i}.{name}"] for name in own_params},
                {name: self.buffers[f"{i}.{name}"] for name in own_buffers},
                self.dtype,
            )
        largest = max((p.size for p in self.params.values() if p.ndim > 1), default=0)
        for layer in every(self.layers):
            layer.largest_weight = largest

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))}, dtype={self.dtype})"

    @property
    def penalty(self) -> float:
        """Sum of the penalties that layers such as `L1Activity` computed in the last forward pass.

        Add this sum to the loss. The gradients from `backward` already include the gradient of this sum.
        """
        return total_penalty(self.layers)

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return the outputs for the rows of x.

        Parameters
        ----------
        x : ndarray, shape (n, in_features)
            Inputs in the model's dtype. x is not copied. Do not change x before `backward`, because `backward` reads x.
        training : bool
            If True, layers such as `Dropout` and `BatchNorm` work as in training. If False, they work as in prediction.

        Returns
        -------
        ndarray, shape (n, out_features)
            The outputs. Later calls of `forward`, `predict` or `predict_samples` can overwrite this array.

        Raises
        ------
        ValueError
            If x has another dtype or shape.
        """
        if not is_base_ndarray(x) or x.dtype != self.dtype or not self._fits(x):
            raise ValueError(f"Sequential.forward: x must be {self.dtype} of shape {self._need()}; got {describe(x)}")
        self._output = None  # if a layer raises an error, `backward` must not use the arrays of an older pass
        for forward in self._passes:
            x = forward(x, training)
        self._output = x
        return x

    def _fits(self, x: Array) -> bool:
        return x.ndim == 2 and (self.in_features is None or x.shape[1] == self.in_features)

    def _need(self) -> str:
        return f"(n, {'width' if self.in_features is None else self.in_features})"

    def backward(self, dy: Array, need_dx: bool = False) -> Array | None:
        """Compute the gradients of the loss. They replace the old values in ``grads`` and ``grad_arena``.

        Parameters
        ----------
        dy : ndarray, shape (n, out_features)
            Gradient of the loss with respect to the outputs of the last `forward`. It is not written to.
        need_dx : bool
            If True, also compute the gradient with respect to x, the input of that `forward`. This costs one more
            matrix product in the first layer.

        Returns
        -------
        ndarray or None
            None if `need_dx` is False. Else the gradient with respect to x. Later passes can overwrite this array.

        Raises
        ------
        RuntimeError
            If `forward` has not been called since the model was made, or since the last `predict` or `predict_samples`.
        ValueError
            If dy does not have the dtype and the shape of the outputs.
        """
        output = self._output
        if output is None:
            raise RuntimeError(
                "Sequential.backward: must be called after a forward pass of the same batch, without predict or "
                "predict_samples in between; got no such forward pass"
            )
        if not is_base_ndarray(dy) or dy.dtype != self.dtype or dy.shape != output.shape:
            raise ValueError(
                f"Sequential.backward: dy must be {self.dtype} of shape {output.shape}; got {describe(dy)}"
            )
        layers = self.layers
        for i in range(len(layers) - 1, 0, -1):
            dy = layers[i].backward(dy, True)  # type: ignore[assignment]
        return layers[0].backward(dy, need_dx)

    def predict(self, x: npt.ArrayLike) -> Array:
        """Return the outputs for any number of rows, as a new array. x is converted to the model's dtype.

        Several threads may call `predict` at the same time; each call then waits for the calls before it. Do not call
        `predict` while another thread trains the model.

        Raises
        ------
        ValueError
            If x is not a matrix of numbers with `in_features` columns.
        """
        rows = self._rows("predict", x)
        with self._predicting:
            return self._outputs(rows)

    def predict_samples(
        self, x: npt.ArrayLike, k: int, key: Key | int = 0, transform: Callable[[Array], Array] | None = None
    ) -> Moments:
        """Return mean and variance of the outputs over k dropout masks.

        Layers without random numbers work as in `predict`.

        ::

            y_j = transform(outputs under mask j),   mean = sum(y_j) / k,   variance = sum((y_j - mean)^2) / k

        Parameters
        ----------
        x : array_like, shape (n, in_features)
            Any number of rows. The masks of a row depend on the row's index, not on the number of rows.
        k : int
            Number of runs with dropout, >= 1. Each run has other masks.
        key : Key or int
            The same key gives the same masks. An int is the seed of a key.
        transform : function, optional
            Function of the outputs (n, out_features), such as `softmax`.

        Returns
        -------
        Moments
            (mean, variance, draws). The mean and the variance are float64 arrays, and draws is k. The memory that the
            call needs does not grow with k.

        Raises
        ------
        TypeError, ValueError
            If an argument is not as described, or if the model has neither `Dropout` nor another layer that draws
            random numbers.
        """
        call = "Sequential.predict_samples"
        rows = self._rows("predict_samples", x)
        if not any(layer.is_random for layer in self.layers):
            raise ValueError(f"{call}: needs a model with a Dropout layer; got {self!r}")
        if whole_number(f"{call}: k", k, 2**63) == 0:
            raise ValueError(f"{call}: k must be at least 1; got {k!r}")
        source = key if isinstance(key, Key) else Key(whole_number(f"{call}: key", key, 2**64))

        def draw(own: Key) -> Array:
            outputs = self._outputs(rows, [own.fold(i) for i in range(len(self.layers))])
            return transform(outputs) if transform else outputs

        with self._predicting:
            try:
                return dropout_moments(draw, k, source)
            finally:
                for layer in self.layers:
                    layer.sample(None)

    def _rows(self, call: str, x: npt.ArrayLike) -> Array:
        rows = np.asarray(x)
        if isinstance(x, np.ma.MaskedArray) or rows.dtype.kind not in "biuf" or not self._fits(rows):
            got = describe(rows if isinstance(x, list) else x)
            raise ValueError(f"Sequential.{call}: x must be numbers of shape {self._need()}; got {got}")
        return np.asarray(rows, self.dtype)

    def _outputs(self, rows: Array, keys: Sequence[Key] = ()) -> Array:
        """Predict at most PREDICT_ROWS rows at a time. `keys` is empty, or has one key per layer for its masks."""
        parts = []
        for start in range(0, max(len(rows), 1), PREDICT_ROWS):
            for layer, key in zip(self.layers, keys, strict=False):
                layer.sample(key, start)
            parts.append(self.forward(rows[start : start + PREDICT_ROWS]).copy())
        self._output = None  # the arrays that `backward` needs were overwritten
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers by name."""
        return {name: array.copy() for name, array in {**self.params, **self.buffers}.items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy a `state_dict` into this model.

        Raises
        ------
        TypeError, ValueError
            If a name is missing or unknown, if an array does not have the shape and the dtype of the model's array, or
            if a number in an integer array is negative. The model then does not change.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"Sequential.load_state_dict: state must be a dict of arrays; got {type(state).__name__}")
        own = {**self.params, **self.buffers}
        if set(state) != set(own):
            missing, unknown = sorted(set(own) - set(state)), sorted(set(state) - set(own))
            raise ValueError(
                f"Sequential.load_state_dict: state must have the names {list(own)}; "
                f"missing {missing}, unknown {unknown}"
            )
        for name, array in own.items():
            given = state[name]
            if not is_base_ndarray(given) or (given.dtype, given.shape) != (array.dtype, array.shape):
                raise ValueError(
                    f'Sequential.load_state_dict: state["{name}"] must be {array.dtype} of shape '
                    f"{array.shape}; got {describe(given)}"
                )
            if given.dtype == np.int64 and given.min() < 0:
                raise ValueError(f'Sequential.load_state_dict: state["{name}"] must be at least 0; got {given.min()}')
        assign([(array, state[name]) for name, array in own.items()])

    def astype(self, dtype: npt.DTypeLike) -> Sequential:
        """Return a copy of this model in float32 or float64."""
        kind = float_dtype("Sequential.astype", dtype)
        state = self.state_dict()
        state = {name: a.astype(kind) if a.dtype == self.dtype else a for name, a in state.items()}
        again = _rebuild(type(self), [recipe(layer) for layer in self.layers], kind.name, state)
        vars(again).update(self._added())
        return again

    def __reduce__(self) -> tuple[Any, ...]:
        """Let pickle and deepcopy make the network again.

        If they copied the attributes, the new ``params`` would not be views of the new ``arena``.
        """
        layers = [recipe(layer) for layer in self.layers]
        return _rebuild, (type(self), layers, self.dtype.name, self.state_dict()), self._added()

    def _added(self) -> dict[str, Any]:
        """Return the attributes that a subclass or the user has added to the model."""
        made = vars(Sequential(Layer(), rng=0))
        return {name: value for name, value in vars(self).items() if name not in made}


def _arena(shapes: Mapping[str, Shape], dtype: npt.DTypeLike) -> tuple[Array, dict[str, Array]]:
    arena = aligned_zeros(sum(math.prod(shape) for shape in shapes.values()), dtype)
    return arena, carve(arena, shapes)


def _rebuild(kind: type[Sequential], made: list[Recipe], dtype: str, state: Mapping[str, Array]) -> Sequential:
    model = kind.__new__(kind)  # a subclass's constructor may take other arguments
    Sequential.__init__(model, *map(make, made), dtype=dtype, rng=0)
    model.load_state_dict(state)
    return model
