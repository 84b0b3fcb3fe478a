"""The fully connected layer."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, ClassVar

import numpy as np

from .. import init
from .._base.arrays import Array, Shape
from .._base.checks import check_width, flag
from .._base.memory import Buffers
from ._blas import by_columns, by_rows
from ._layer import Forward, Layer, can_be_saved
from .activations import ReLU


@can_be_saved
class Linear(Layer):
    """The fully connected layer ``y = x W + b``.

    dy, dW, db and dx are the gradients of the loss with respect to y, W, b and x::

        dW = x^T dy,    db_j = sum_i dy_ij,    dx = dy W^T

    The weight W has the shape (in_features, out_features), like the arrays in ``coefs_`` of scikit-learn's
    ``MLPClassifier``. torch stores the transpose of W.

    Parameters
    ----------
    in_features, out_features : int
        Widths of input and output, >= 1.
    bias : bool
        If True, there is a bias ``b``.
    weight_init, bias_init : callable, optional
        An initialiser from `fusedstep.init`, or any function (shape, rng, dtype) -> array. Default: Glorot uniform for
        the weight, zeros for the bias.

    Raises
    ------
    TypeError, ValueError
        If a width is not an integer >= 1, `bias` is not a bool, or an initialiser is not a function
        (shape, rng, dtype).

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> model = nn.Sequential(nn.Linear(3, 2), rng=0)
    >>> [(name, p.shape) for name, p in model.params.items()]
    [('0.weight', (3, 2)), ('0.bias', (2,))]
    >>> model.forward(np.zeros((4, 3), np.float32)).shape
    (4, 2)
    """

    keeps_output: ClassVar[bool] = False
    keeps_dx: ClassVar[bool] = False

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        weight_init: init.Initializer | None = None,
        bias_init: init.Initializer | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_width("Linear", "in_features", in_features)
        self.out_features = check_width("Linear", "out_features", out_features)
        self.bias = flag("Linear: bias", bias)
        self.weight_init = _maker("weight_init", weight_init or init.glorot())
        self.bias_init = _maker("bias_init", bias_init or init.zeros())

    def config(self) -> dict[str, Any]:
        return {"in_features": self.in_features, "out_features": self.out_features, "bias": self.bias}

    def widths(self) -> tuple[int | None, int | None]:
        return self.in_features, self.out_features

    def param_shapes(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"weight": (self.in_features, self.out_features)}
        if self.bias:
            shapes["bias"] = (self.out_features,)
        return shapes

    def attach(
        self,
        params: Mapping[str, Array],
        grads: Mapping[str, Array],
        buffers: Mapping[str, Array],
        dtype: np.dtype[Any],
    ) -> None:
        super().attach(params, grads, buffers, dtype)
        self._w, self._dw = params["weight"], grads["weight"]
        self._b = params.get("bias")
        self._db = grads["bias"][None] if "bias" in grads else None
        self._y, self._dx, self._ones = Buffers(dtype), Buffers(dtype), Buffers(dtype, fill=1.0)

    def initialize(self, rng: np.random.Generator) -> None:
        for name, make in (("weight", self.weight_init), ("bias", self.bias_init)):
            if name in self.params:
                view = self.params[name]
                view[...] = make(view.shape, rng, view.dtype)

    def forward(self, x: Array, training: bool) -> Array:
        y = self._product(x)
        return y if self._b is None else np.add(y, self._b, out=y)

    def forward_with(self, after: Layer) -> Forward | None:
        if self._b is None or type(after) is not ReLU or type(self).forward is not Linear.forward:
            return None
        return lambda x, training: after.forward(self._product(x), training, self._b)

    def _product(self, x: Array) -> Array:
        self._x = x
        return by_columns(x, self._w, self._y[(x.shape[0], self.out_features)], self.largest_weight)

    def backward(self, dy: Array, need_dx: bool) -> Array | None:
        x = self._x
        by_rows(x.T, dy, self._dw, self.largest_weight)
        if self._db is not None:  # a product with ones takes a third of the time of a sum over axis 0
            by_columns(self._ones[(1, x.shape[0])], dy, self._db, self.largest_weight)
        if not need_dx:
            return None
        return by_columns(dy, self._w.T, self._dx[x.shape], self.largest_weight)


def _maker(name: str, make: init.Initializer) -> init.Initializer:
    """Return `make` if it is an initialiser, such as ``init.he()``. Refuse anything else, such as `init.he`."""
    try:
        signature(make).bind((1, 1), None, None)
    except TypeError:
        raise TypeError(
            f"Linear: {name} must be a function of (shape, rng, dtype), such as the result of init.he(); got {make!r}"
        ) from None
    except ValueError:  # a compiled function may have no signature
        pass
    return make
