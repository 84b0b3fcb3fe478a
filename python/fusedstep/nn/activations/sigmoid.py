"""The logistic function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import init
from ..._base.arrays import Array
from .._layer import can_be_saved
from ._activation import Activation


@can_be_saved
class Sigmoid(Activation):
    """``y = 1 / (1 + exp(-x))``. The slope is ``y (1 - y)``.

    No input causes an overflow, and outputs near 0 keep their precision.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> nn.Sequential(nn.Sigmoid(), dtype=np.float64).predict([[-1000, 0]]).round(9)
    array([[0. , 0.5]])
    """

    name = "sigmoid"

    @staticmethod
    def weight_init() -> init.Initializer:
        """Return the usual initialiser of weights for this activation."""
        return init.glorot(scale=4.0)

    def attach(
        self,
        params: Mapping[str, Array],
        grads: Mapping[str, Array],
        buffers: Mapping[str, Array],
        dtype: np.dtype[Any],
    ) -> None:
        super().attach(params, grads, buffers, dtype)
        self._largest = np.array(np.log(np.finfo(dtype).max) - 1, dtype)  # exp of this number is finite

    def _apply(self, x: Array, y: Array) -> None:
        np.negative(x, out=y)
        np.minimum(y, self._largest, out=y)
        np.exp(y, out=y)
        np.add(y, self._one, out=y)
        np.reciprocal(y, out=y)

    def _slope(self, y: Array, out: Array) -> None:
        np.subtract(self._one, y, out=out)
        np.multiply(out, y, out=out)
