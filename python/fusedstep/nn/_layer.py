"""The base class of layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from .._base.arrays import Array, Shape
from ..ops.philox import Key

Forward = Callable[[Array, bool], Array]  # (x, training) -> y


class Layer:
    """The base class of layers.

    `forward` maps inputs x of shape (n, width) to outputs y of shape (n, width'). `backward` maps dy to dx. Here dy is
    the gradient of the loss with respect to y, and dx is the gradient with respect to x.

    A layer declares the memory that it needs (`param_shapes`, `buffer_shapes`). `Sequential` allocates that memory and
    passes views of it to `attach`. Layers write their results to scratch memory, which is used again for every batch of
    the same size. Therefore an array that `forward` or `backward` returns is valid until the next call of that method.

    Attributes
    ----------
    works_in_place : bool
        Class attribute. True if the layer can write y over x, or dx over dy, or both. For such a layer, `Sequential`
        sets the attribute ``over_x`` to True if no other code needs x. `forward` may then write y over x. `Sequential`
        sets ``over_dy`` to True if no other code needs dy. `backward` may then write dx over dy.
    keeps_output : bool
        Class attribute, True by default. True if the next layer must not overwrite y, because this layer's `backward`
        reads y, or because y may be x itself, which other code may need.
    keeps_dx : bool
        Class attribute, True by default. True if the previous layer must not overwrite dx, because dx may be dy
        itself, which other code may need.
    is_random : bool
        True if the layer draws random numbers. `sample` sets the key from which they are computed.
    sublayers : tuple of Layer
        Layers inside this layer.
    penalty : float
        The penalty that this layer computed in the last forward pass. It is a part of the loss.
    params, grads, buffers : dict of str to ndarray
        Views of the model's memory. ``buffers`` are saved with the model but not optimised.

    Examples
    --------
    This example defines a layer. `config` must return the constructor's arguments, because they are needed to copy the
    model.

    >>> import numpy as np
    >>> from fusedstep import inspect, nn
    >>> class Scale(nn.Layer):
    ...     def __init__(self, features):
    ...         super().__init__()
    ...         self.features = features
    ...
    ...     def config(self):
    ...         return {"features": self.features}
    ...
    ...     def param_shapes(self):
    ...         return {"scale": (self.features,)}
    ...
    ...     def initialize(self, rng):
    ...         self.params["scale"][...] = 1.0
    ...
    ...     def forward(self, x, training):
    ...         self.x = x
    ...         return x * self.params["scale"]
    ...
    ...     def backward(self, dy, need_dx):
    ...         self.grads["scale"][...] = (dy * self.x).sum(axis=0)
    ...         return dy * self.params["scale"] if need_dx else None
    >>> x, y = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 3
    >>> model = nn.Sequential(nn.Linear(4, 8), Scale(8), nn.Tanh(), nn.Linear(8, 3), rng=0)
    >>> bool(inspect.check_gradient(inspect.objective(model, nn.SoftmaxNLL(), x, y)))
    True
    """

    works_in_place: ClassVar[bool] = False
    keeps_output: ClassVar[bool] = True
    keeps_dx: ClassVar[bool] = True

    is_random: bool = False
    sublayers: tuple[Layer, ...] = ()
    over_x: bool = False
    over_dy: bool = False
    attached: bool = False
    # Number of elements of the network's largest weight. Matrix products choose their number of threads from it.
    largest_weight: int = 0
    penalty: float = 0.0

    def __init__(self) -> None:
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}
        self.buffers: dict[str, Array] = {}

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments that determine shapes and behaviour, as a dict for JSON."""
        return {}

    def __repr__(self) -> str:
        arguments = [*map(repr, self.sublayers), *(f"{key}={value!r}" for key, value in self.config().items())]
        return f"{type(self).__name__}({', '.join(arguments)})"

    def param_shapes(self) -> dict[str, Shape]:
        """Return the names and shapes of the trained arrays."""
        return {}

    def buffer_shapes(self) -> dict[str, Shape]:
        """Return the names and shapes of the arrays that are saved but not trained, and have the model's dtype."""
        return {}

    def counter_shapes(self) -> dict[str, Shape]:
        """Return the names and shapes of the int64 arrays that are saved but not trained.

        The attribute ``buffers`` contains these arrays and the arrays of `buffer_shapes`.
        """
        return {}

    def fit_width(self, width: int | None) -> None:
        """Set the width of the input (None: unknown). The model calls it before `widths` and `param_shapes`."""

    def widths(self) -> tuple[int | None, int | None]:
        """Return the widths of input and output.

        (None, None) means that the input may have any width, and that the output is as wide as the input.
        """
        return None, None

    def attach(
        self,
        params: Mapping[str, Array],
        grads: Mapping[str, Array],
        buffers: Mapping[str, Array],
        dtype: np.dtype[Any],
    ) -> None:
        """Store the views of the model's memory. The model calls this method once."""
        self.params, self.grads, self.buffers = dict(params), dict(grads), dict(buffers)
        self.attached = True

    def forward_with(self, after: Layer) -> Forward | None:
        """Return a function that computes this layer and the next layer `after` in one pass over the data.

        If there is no such function, return None.
        """
        return None

    def initialize(self, rng: np.random.Generator) -> None:
        """Set the initial values of parameters and buffers."""

    def sample(self, key: Key | None, first_row: int = 0) -> None:
        """Use `key` for the random numbers of the next passes, in training and in prediction.

        If `key` is None, the layer draws its own random numbers in training, and uses none in prediction. If an input
        is passed in several parts, one part per pass, ``first_row`` is the number of rows in the earlier parts.
        """

    def forward(self, x: Array, training: bool) -> Array:
        """Return the output for the rows ``x``, and store the arrays that `backward` needs."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(self, x, training)")

    def backward(self, dy: Array, need_dx: bool) -> Array | None:
        """Return dx, the gradient of the loss with respect to the ``x`` of the last `forward`.

        ``dy`` is the gradient of the loss with respect to the output. Also write the gradients of the parameters to
        ``grads``. If `need_dx` is False, return None instead of dx.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backward(self, dy, need_dx)")


#: Class name -> class, for every layer that a saved model may have.
LAYERS: dict[str, type[Layer]] = {}

Kind = TypeVar("Kind", bound=type[Layer])


def can_be_saved(kind: Kind) -> Kind:
    """Allow `save` and `load` for models with layers of this class. To be used as a class decorator."""
    LAYERS[kind.__name__] = kind
    return kind
