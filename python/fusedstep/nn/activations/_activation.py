"""The base class of activations: elementwise functions that work in place if the neighbouring layers allow it.

The slope of an activation is its derivative. It is computed from the output y with arithmetic on whole arrays of one
dtype, because NumPy vectorises such arithmetic. NumPy is slower with masks (bool times float, or ``where=``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ... import init
from ..._base.arrays import Array
from ..._base.memory import Buffers
from .._layer import Layer


class Activation(Layer):
    """The base class of elementwise functions ``y = f(x)`` with ``dx = dy * slope``.

    dy and dx are the gradients of the loss with respect to y and x. The slope is f'(x), but it is computed from y. A
    subclass defines f in `_apply`, and the slope in `_slope`.

    Attributes
    ----------
    name : str
        Class attribute: the name of the activation on the command line and in the estimators.
    """

    name: ClassVar[str]

    works_in_place: ClassVar[bool] = True
    keeps_output: ClassVar[bool] = True  # `backward` computes the slope from y
    keeps_dx: ClassVar[bool] = False

    @staticmethod
    def weight_init() -> init.Initializer:
        """Return the usual initialiser of weights for this activation."""
        return init.glorot()

    def attach(
        self,
        params: Mapping[str, Array],
        grads: Mapping[str, Array],
        buffers: Mapping[str, Array],
        dtype: np.dtype[Any],
    ) -> None:
        super().attach(params, grads, buffers, dtype)
        self._outputs, self._scratch, self._dx = Buffers(dtype), Buffers(dtype), Buffers(dtype)
        # arrays of shape (), because NumPy would convert a Python number in every call
        self._one, self._minus_one = np.array(1, dtype), np.array(-1, dtype)

    def forward(self, x: Array, training: bool) -> Array:
        self._y = y = x if self.over_x else self._outputs[x.shape]
        self._apply(x, y)
        return y

    def backward(self, dy: Array, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        y = self._y
        slope = self._scratch[y.shape]
        self._slope(y, slope)
        return np.multiply(dy, slope, out=dy if self.over_dy else self._dx[y.shape])

    def _apply(self, x: Array, y: Array) -> None:
        raise NotImplementedError

    def _slope(self, y: Array, out: Array) -> None:
        raise NotImplementedError
