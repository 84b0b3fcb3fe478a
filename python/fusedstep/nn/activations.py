"""Non-linearities, elementwise and in place where the neighbours allow it.

The slopes are written in terms of the output y and as whole-array arithmetic in one dtype: NumPy vectorises
that, while masks (bool times float, ``where=``) go through a slow path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .. import _core
from .._base.arrays import Array
from .._base.memory import Buffers
from ._layer import Layer


class Activation(Layer):
    """An elementwise ``y = f(x)`` whose slope is a function of y: ``dx = dy * f'``.

    A subclass writes f in `_apply` and f' in `_slope`.
    """

    works_in_place: ClassVar[bool] = True
    keeps_output: ClassVar[bool] = True  # for the slope
    keeps_dx: ClassVar[bool] = False

    def attach(
        self,
        params: Mapping[str, Array],
        grads: Mapping[str, Array],
        buffers: Mapping[str, Array],
        dtype: np.dtype[Any],
    ) -> None:
        super().attach(params, grads, buffers, dtype)
        self._outputs, self._scratch, self._dx = Buffers(dtype), Buffers(dtype), Buffers(dtype)
        # 0-d arrays: a Python number would be converted anew in every call
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


class ReLU(Activation):
    """``y = max(x, 0)``; slope 1 where x > 0 and 0 elsewhere (as torch, also at 0).

    Glorot, Bordes, Bengio (2011).

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> nn.Sequential(nn.ReLU(), dtype=np.float64).predict([[-1, 0, 2]])
    array([[0., 0., 2.]])
    """

    def forward(self, x: Array, training: bool, bias: Array | None = None) -> Array:
        """Return ``max(x + bias, 0)``, with the bias of the layer in front in the same pass."""
        x = np.ascontiguousarray(x)
        self._y = y = x if self.over_x else self._outputs[x.shape]
        _core.relu(x, bias, y)
        return y

    def backward(self, dy: Array, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        dy = np.ascontiguousarray(dy)
        dx = dy if self.over_dy else self._dx[dy.shape]
        _core.relu_backward(dy, self._y, dx)
        return dx


class Tanh(Activation):
    """``y = tanh(x)``; slope ``1 - y^2``. As torch.

    LeCun et al. (1998), "Efficient BackProp", section 4.4: outputs around 0 suit the next layer.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> nn.Sequential(nn.Tanh(), dtype=np.float64).predict([[0.0]])
    array([[0.]])
    """

    def _apply(self, x: Array, y: Array) -> None:
        np.tanh(x, out=y)

    def _slope(self, y: Array, out: Array) -> None:
        np.multiply(y, y, out=out)
        np.subtract(self._one, out, out=out)


class HardTanh(Activation):
    """``y = min(max(x, -1), 1)``; slope 1 where -1 < x < 1 and 0 elsewhere (as torch, also at the ends).

    Collobert (2004).

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> nn.Sequential(nn.HardTanh(), dtype=np.float64).predict([[-3, 0.5, 2]])
    array([[-1. ,  0.5,  1. ]])
    """

    def _apply(self, x: Array, y: Array) -> None:
        np.maximum(x, self._minus_one, out=y)
        np.minimum(y, self._one, out=y)

    def _slope(self, y: Array, out: Array) -> None:
        np.abs(y, out=out)
        np.floor(out, out=out)  # 1 where saturated, else 0
        np.subtract(self._one, out, out=out)


class Sigmoid(Activation):
    """``y = 1 / (1 + exp(-x))``; slope ``y (1 - y)``. As torch; neither overflows nor loses small values.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> nn.Sequential(nn.Sigmoid(), dtype=np.float64).predict([[-1000, 0]]).round(9)
    array([[0. , 0.5]])
    """

    def attach(
        self,
        params: Mapping[str, Array],
        grads: Mapping[str, Array],
        buffers: Mapping[str, Array],
        dtype: np.dtype[Any],
    ) -> None:
        super().attach(params, grads, buffers, dtype)
        self._largest = np.array(np.log(np.finfo(dtype).max) - 1, dtype)  # exp of it is finite

    def _apply(self, x: Array, y: Array) -> None:
        np.negative(x, out=y)
        np.minimum(y, self._largest, out=y)
        np.exp(y, out=y)
        np.add(y, self._one, out=y)
        np.reciprocal(y, out=y)

    def _slope(self, y: Array, out: Array) -> None:
        np.subtract(self._one, y, out=out)
        np.multiply(out, y, out=out)
