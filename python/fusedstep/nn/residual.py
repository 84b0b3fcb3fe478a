"""A block whose input is added to its output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .._base.arrays import Array, Shape
from ..ops.philox import Key
from ._layer import Layer, can_be_saved
from ._stack import allow_in_place, check_layers, fit_widths, forward_passes, numbered
from .batch_norm import BatchNorm


@can_be_saved
class Residual(Layer):
    r"""A block of layers that ends with a `BatchNorm`. The block's input is added to the result of the `BatchNorm`.

    x and y are the input and the output of the block, and h is the output of the layers before the `BatchNorm`. dy, dx
    and dh are the gradients of the loss with respect to y, x and h. J is the Jacobian of h with respect to x::

        y = act(BN(h) + x),   act = ReLU if the BatchNorm has relu=True, else identity
        dx = J^T dh + dy act'(BN(h) + x)

    Parameters
    ----------
    *layers : Layer
        The last layer must be a `BatchNorm`. If it has ``relu=True``, its ReLU comes after the addition. The output of
        the block must be as wide as its input.

    Raises
    ------
    TypeError, ValueError
        If an argument is not a layer, occurs twice or belongs to another model, or if the last layer is not a
        `BatchNorm`. If the widths do not fit, `Sequential` raises ValueError.

    Notes
    -----
    Source: He, Zhang, Ren, Sun (2016), figure 2. In torch, batch norm, addition and ReLU are three calls, and each call
    passes over the data. Here one pass computes all three.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> block = nn.Residual(nn.Linear(4, 4, bias=False), nn.BatchNorm(relu=True))
    >>> model = nn.Sequential(nn.Linear(3, 4), block, nn.Linear(4, 2), rng=0)
    >>> list(model.params)[2:5]
    ['1.0.weight', '1.1.gamma', '1.1.beta']
    >>> model.forward(np.ones((5, 3), np.float32), training=True).shape
    (5, 2)
    """

    works_in_place: ClassVar[bool] = True  # dx may overwrite dy; y must not overwrite x
    keeps_output: ClassVar[bool] = False
    keeps_dx: ClassVar[bool] = False

    def __init__(self, *layers: Layer) -> None:
        super().__init__()
        check_layers("Residual", layers)
        norm = layers[-1]
        if not isinstance(norm, BatchNorm):
            raise TypeError(f"Residual: the last layer, layers[{len(layers) - 1}], must be a BatchNorm; got {norm!r}")
        self.sublayers, self._inner, self._norm = layers, layers[:-1], norm
        self.is_random = any(layer.is_random for layer in layers)
        self._width: int | None = None

    def fit_width(self, width: int | None) -> None:
        takes, gives = fit_widths("Residual", self.sublayers, width)
        if takes is not None and takes != gives:
            raise ValueError(
                f"Residual: the output of layers must have as many features as their input, {takes}; got {gives}"
            )
        self._width = gives

    def widths(self) -> tuple[int | None, int | None]:
        return self._width, self._width

    def param_shapes(self) -> dict[str, Shape]:
        return numbered([layer.param_shapes() for layer in self.sublayers])

    def buffer_shapes(self) -> dict[str, Shape]:
        return numbered([layer.buffer_shapes() for layer in self.sublayers])

    def counter_shapes(self) -> dict[str, Shape]:
        return numbered([layer.counter_shapes() for layer in self.sublayers])

    def attach(
        self,
        params: Mapping[str, Array],
        grads: Mapping[str, Array],
        buffers: Mapping[str, Array],
        dtype: np.dtype[Any],
    ) -> None:
        super().attach(params, grads, buffers, dtype)
        for i, layer in enumerate(self.sublayers):
            layer.attach(_of(i, params), _of(i, grads), _of(i, buffers), dtype)
        allow_in_place(self.sublayers)
        self._passes = forward_passes(self._inner)

    def initialize(self, rng: np.random.Generator) -> None:
        for layer in self.sublayers:
            layer.initialize(rng)

    def sample(self, key: Key | None, first_row: int = 0) -> None:
        for i, layer in enumerate(self.sublayers):
            layer.sample(key and key.fold(i), first_row)

    def forward(self, x: Array, training: bool) -> Array:
        h = x
        for forward in self._passes:
            h = forward(h, training)
        return self._norm.normalize(h, training, residual=x)

    def backward(self, dy: Array, need_dx: bool) -> Array | None:
        self._norm.over_dy = self.over_dy
        grads = self._norm.gradients(dy)
        dx = grads.dx
        for i in range(len(self._inner) - 1, -1, -1):
            dx = self._inner[i].backward(dx, need_dx or i > 0)  # type: ignore[assignment]
        if not need_dx:
            return None
        assert grads.dresidual is not None
        return np.add(dx, grads.dresidual, out=dx)


def _of(i: int, views: Mapping[str, Array]) -> dict[str, Array]:
    """Return the views of layer i. The names lose the index of the layer: ``0.weight`` becomes ``weight``."""
    return {name.removeprefix(f"{i}."): view for name, view in views.items() if name.startswith(f"{i}.")}
