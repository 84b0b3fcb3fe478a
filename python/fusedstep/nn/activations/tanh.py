"""The hyperbolic tangent."""

from __future__ import annotations

import numpy as np

from ..._base.arrays import Array
from .._layer import can_be_saved
from ._activation import Activation


@can_be_saved
class Tanh(Activation):
    """``y = tanh(x)``. The slope is ``1 - y^2``, as in torch.

    Outputs with a mean near 0 help the next layer to learn: LeCun et al. (1998), "Efficient BackProp", section 4.4.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> nn.Sequential(nn.Tanh(), dtype=np.float64).predict([[0.0]])
    array([[0.]])
    """

    name = "tanh"

    def _apply(self, x: Array, y: Array) -> None:
        np.tanh(x, out=y)

    def _slope(self, y: Array, out: Array) -> None:
        np.multiply(y, y, out=out)
        np.subtract(self._one, out, out=out)
