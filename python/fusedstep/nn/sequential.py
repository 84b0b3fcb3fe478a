"""A stack of layers that share one arena of parameters and one of gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ._layer import Layer, describe, float_dtype, is_plain
from ._memory import Array, Shape, aligned_zeros, carve

PREDICT_ROWS = 1024  # rows per forward pass in `predict`: bounds the scratch memory


class Sequential:
    """Layers one after the other; all parameters in one contiguous arena, all gradients in another.

    Parameters
    ----------
    *layers : Layer
        Each object once; widths must fit.
    dtype : dtype
        float32 or float64, of everything in the model.
    rng : None, int or numpy.random.Generator
        Where the initial weights are drawn from.

    Attributes
    ----------
    params, grads : dict of str to ndarray
        Views of the arenas under names such as "0.weight", in the same order: what an optimizer takes.
    buffers : dict of str to ndarray
        What layers keep besides: saved with the model, not optimised.
    arena, grad_arena : ndarray
        All parameters, all gradients, flat.

    Raises
    ------
    ValueError, TypeError
        If a layer is not one, comes twice, or does not fit the width before it.

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
        self.in_features, self.out_features = _check_layers(layers)
        self._place_memory()
        self._allow_in_place()
        generator = np.random.default_rng(rng)
        for layer in layers:
            layer.initialize(generator)
        self._output: Array | None = None

    def _place_memory(self) -> None:
        shapes = [(layer.param_shapes(), layer.buffer_shapes()) for layer in self.layers]
        trained = {f"{i}.{name}": s for i, (own, _) in enumerate(shapes) for name, s in own.items()}
        kept = {f"{i}.{name}": s for i, (_, own) in enumerate(shapes) for name, s in own.items()}
        self.arena, self.params = self._arena(trained)
        self.grad_arena, self.grads = self._arena(trained)
        _, self.buffers = self._arena(kept)
        for i, (layer, (own_params, own_buffers)) in enumerate(zip(self.layers, shapes, strict=True)):
            layer.attach(
                {name: self.params[f"{i}.{name}"] for name in own_params},
                {name: self.grads[f"{i}.{name}"] for name in own_params},
                {name: self.buffers[f"{i}.{name}"] for name in own_buffers},
                self.dtype,
            )

    def _arena(self, shapes: Mapping[str, Shape]) -> tuple[Array, dict[str, Array]]:
        arena = aligned_zeros(sum(math.prod(shape) for shape in shapes.values()), self.dtype)
        return arena, carve(arena, shapes)

    def _allow_in_place(self) -> None:
        """Let layers write over what nobody needs: never the caller's x or dy, nor a kept output."""
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            layer.over_x = layer.works_in_place and i > 0 and not self.layers[i - 1].keeps_output
            layer.over_dy = layer.works_in_place and i < last

    def __repr__(self) -> str:
        return f"Sequential({', '.join(map(repr, self.layers))}, dtype={self.dtype})"

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return the outputs for the rows x.

        Parameters
        ----------
        x : ndarray, shape (n, in_features)
            Of the model's dtype; kept until the next call (not copied), because `backward` needs it.
        training : bool
            Whether layers that behave differently in training do.

        Returns
        -------
        ndarray, shape (n, out_features)
            Reused memory: valid until the next call with as many rows.

        Raises
        ------
        ValueError
            If x has another dtype or shape.
        """
        if not is_plain(x) or x.dtype != self.dtype or not self._fits(x):
            raise ValueError(f"Sequential.forward: x must be {self.dtype} of shape {self._need()}; got {describe(x)}")
        for layer in self.layers:
            x = layer.forward(x, training)
        self._output = x
        return x

    def _fits(self, x: Array) -> bool:
        return x.ndim == 2 and (self.in_features is None or x.shape[1] == self.in_features)

    def _need(self) -> str:
        return f"(n, {'width' if self.in_features is None else self.in_features})"

    def backward(self, dy: Array, need_dx: bool = False) -> Array | None:
        """Write the gradients of the loss into the gradient arena (they replace what was there).

        Parameters
        ----------
        dy : ndarray, shape (n, out_features)
            Gradient of the loss with respect to the outputs of the last `forward`; not written to.
        need_dx : bool
            Whether the gradient with respect to x is wanted; the first layer saves a product otherwise.

        Returns
        -------
        ndarray or None
            The gradient with respect to x, in reused memory, if asked for.

        Raises
        ------
        RuntimeError
            If there was no `forward` since the model was made or last used by `predict`.
        ValueError
            If dy does not fit the outputs.
        """
        output = self._output
        if output is None:
            raise RuntimeError("Sequential.backward: needs a forward pass of the same batch before it")
        if not is_plain(dy) or dy.dtype != self.dtype or dy.shape != output.shape:
            raise ValueError(
                f"Sequential.backward: dy must be {self.dtype} of shape {output.shape}; got {describe(dy)}"
            )
        layers = self.layers
        for i in range(len(layers) - 1, 0, -1):
            dy = layers[i].backward(dy, True)  # type: ignore[assignment]
        return layers[0].backward(dy, need_dx)

    def predict(self, x: npt.ArrayLike) -> Array:
        """Return the outputs for any number of rows, as a new array; x is converted to the model's dtype.

        Raises
        ------
        ValueError
            If x is not a matrix of numbers of the right width.
        """
        rows = np.asarray(x, dtype=self.dtype)
        if isinstance(x, np.ma.MaskedArray) or not self._fits(rows):
            raise ValueError(f"Sequential.predict: x must have the shape {self._need()}; got {describe(x)}")
        starts = range(0, max(len(rows), 1), PREDICT_ROWS)
        parts = [self.forward(rows[i : i + PREDICT_ROWS]).copy() for i in starts]
        self._output = None  # what backward would need has been overwritten
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers by name."""
        return {name: array.copy() for name, array in {**self.params, **self.buffers}.items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy a `state_dict` into this model.

        Raises
        ------
        ValueError
            If a name is missing or unknown, or a shape or dtype differs; nothing is written then.
        """
        own = {**self.params, **self.buffers}
        if set(state) != set(own):
            missing, unknown = sorted(set(own) - set(state)), sorted(set(state) - set(own))
            raise ValueError(
                f"Sequential.load_state_dict: state must have the names {list(own)}; "
                f"missing {missing}, unknown {unknown}"
            )
        for name, array in own.items():
            given = state[name]
            if not isinstance(given, np.ndarray) or (given.dtype, given.shape) != (array.dtype, array.shape):
                raise ValueError(
                    f'Sequential.load_state_dict: state["{name}"] must be {array.dtype} of shape '
                    f"{array.shape}; got {describe(given)}"
                )
        for name, array in own.items():
            array[...] = state[name]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickling and deepcopy rebuild the arenas; views would come back as separate arrays."""
        made = [(type(layer), layer.config()) for layer in self.layers]
        return _rebuild, (made, self.dtype.name, self.state_dict())


def _check_layers(layers: tuple[Layer, ...]) -> tuple[int | None, int | None]:
    """Refuse what is no stack of layers; the widths of its input and output (None: whatever comes)."""
    if not layers:
        raise ValueError("Sequential: layers must hold at least one layer; got none")
    first: int | None = None
    width: int | None = None
    seen: dict[int, int] = {}
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"Sequential: layers[{i}] must be a Layer; got {layer!r}")
        if seen.setdefault(id(layer), i) != i:
            raise ValueError(f"Sequential: layers[{i}] is the same object as layers[{seen[id(layer)]}]")
        if layer.attached:
            raise ValueError(f"Sequential: layers[{i}] already belongs to another model: {layer!r}")
        takes, gives = layer.widths()
        if takes is not None and width is not None and takes != width:
            raise ValueError(f"Sequential: layers[{i}] must take {width} features; got {layer!r}")
        first = takes if first is None else first
        width = gives if gives is not None else width
    return first, width


def _rebuild(made: list[tuple[type[Layer], dict[str, Any]]], dtype: str, state: Mapping[str, Array]) -> Sequential:
    model = Sequential(*(kind(**config) for kind, config in made), dtype=dtype, rng=0)
    model.load_state_dict(state)
    return model
