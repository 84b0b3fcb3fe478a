"""The rectified linear unit."""

from __future__ import annotations

import numpy as np

from ... import _core, init
from ..._base.arrays import Array
from .._layer import can_be_saved
from ._activation import Activation


@can_be_saved
class ReLU(Activation):
    """``y = max(x, 0)``. The slope is 1 where x > 0, else 0, as in torch.

    Source: Glorot, Bordes, Bengio (2011).

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> nn.Sequential(nn.ReLU(), dtype=np.float64).predict([[-1, 0, 2]])
    array([[0., 0., 2.]])
    """

    name = "relu"

    @staticmethod
    def weight_init() -> init.Initializer:
        """Return the usual initialiser of weights for this activation."""
        return init.he()

    def forward(self, x: Array, training: bool, bias: Array | None = None) -> Array:
        """Return ``max(x + bias, 0)``, where ``bias`` is the bias of the layer before. None means no bias."""
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
