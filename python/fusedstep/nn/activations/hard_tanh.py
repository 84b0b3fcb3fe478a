"""The hard tanh: a piecewise linear approximation of the hyperbolic tangent."""

from __future__ import annotations

import numpy as np

from ..._base.arrays import Array
from .._layer import can_be_saved
from ._activation import Activation


@can_be_saved
class HardTanh(Activation):
    """``y = min(max(x, -1), 1)``. The slope is 1 where -1 < x < 1, else 0, as in torch.

    Source: Collobert (2004).

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> nn.Sequential(nn.HardTanh(), dtype=np.float64).predict([[-3, 0.5, 2]])
    array([[-1. ,  0.5,  1. ]])
    """

    name = "hard_tanh"

    def _apply(self, x: Array, y: Array) -> None:
        np.maximum(x, self._minus_one, out=y)
        np.minimum(y, self._one, out=y)

    def _slope(self, y: Array, out: Array) -> None:
        np.abs(y, out=out)
        np.floor(out, out=out)  # 1 where |y| = 1, else 0
        np.subtract(self._one, out, out=out)
