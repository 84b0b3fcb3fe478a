"""Dropout in a network. A mask is not stored: it is computed from a seed and a number that counts the passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from .. import _core
from .._base.arrays import Array, Shape
from .._base.memory import Buffers
from .._base.random import threshold_and_scale, threshold_of
from ..ops.philox import Key
from ._layer import Layer, can_be_saved

SEEDS = 2**63  # seeds must fit into int64


@can_be_saved
class Dropout(Layer):
    r"""In training, set each element of x to zero with probability p.

    ::

        m_i = 0 with probability p, else 1
        "inverted":  y_i = m_i x_i / (1 - p) in training,  y_i = x_i in prediction,          dx_i = m_i dy_i / (1 - p)
        "vanilla":   y_i = m_i x_i in training,            y_i = (1 - p) x_i in prediction,  dx_i = m_i dy_i

    dy and dx are the gradients of the loss with respect to y and x.

    Parameters
    ----------
    p : float
        Probability that an element is set to zero, from 0 to 1. It is rounded to a multiple of 1/65536.
    mode : {"inverted", "vanilla"}
        "inverted", the usual form, scales in training. "vanilla", the form of the first paper, scales in prediction.

    Attributes
    ----------
    buffers : dict
        ``"stream"`` holds two int64 numbers, from which the next mask is computed. The first is a seed. It is drawn
        from the model's ``rng`` when the model is made. The second is the number of training passes so far. Both are in
        ``state_dict``, so a resumed training draws the same masks as a training without a break.

    Raises
    ------
    TypeError, ValueError
        If p is not a number from 0 to 1, or the mode is unknown.

    Notes
    -----
    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014); see `fusedstep.dropout`. Unlike
    ``torch.nn.Dropout``, this layer does not use a global random generator. The masks are the same for any number of
    threads.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn
    >>> model = nn.Sequential(nn.Dropout(0.5), rng=0)
    >>> x = np.ones((2, 4), np.float32)
    >>> sorted(set(model.forward(x, training=True).ravel().tolist()))
    [0.0, 2.0]
    >>> bool((model.forward(x) == x).all()), int(model.buffers["0.stream"][1])
    (True, 1)
    """

    works_in_place: ClassVar[bool] = True
    keeps_output: ClassVar[bool] = False
    keeps_dx: ClassVar[bool] = False
    is_random = True

    def __init__(self, p: float = 0.5, mode: str = "inverted") -> None:
        super().__init__()
        threshold = threshold_of("Dropout", p)
        if mode not in ("inverted", "vanilla"):
            raise ValueError(f'Dropout: mode must be "inverted" or "vanilla"; got {mode!r}')
        self.p, self.mode = float(p), mode
        self._dropping, self._keeping = (threshold_and_scale(threshold, mode, training) for training in (True, False))
        self._sampled: tuple[Key, int] | None = None

    def config(self) -> dict[str, Any]:
        return {"p": self.p, "mode": self.mode}

    def counter_shapes(self) -> dict[str, Shape]:
        return {"stream": (2,)}

    def attach(
        self,
        params: Mapping[str, Array],
        grads: Mapping[str, Array],
        buffers: Mapping[str, Array],
        dtype: np.dtype[Any],
    ) -> None:
        super().attach(params, grads, buffers, dtype)
        self._stream = buffers["stream"]
        self._y, self._dx = Buffers(dtype), Buffers(dtype)

    def initialize(self, rng: np.random.Generator) -> None:
        self._stream[...] = rng.integers(SEEDS), 0

    def sample(self, key: Key | None, first_row: int = 0) -> None:
        self._sampled = None if key is None else (key, first_row)

    # `forward` and `backward` call the kernel directly. For a small batch, the checks of `fusedstep.dropout` would take
    # longer than the kernel.
    def forward(self, x: Array, training: bool) -> Array:
        how = self._dropping if training or self._sampled is not None else self._keeping
        self._drawn = drawn = (*how, *self._next(training, x.shape[1]))
        y = x if self.over_x else self._y[x.shape]
        return _core.drop("Dropout.forward", "x", x, y, None, *drawn)

    def backward(self, dy: Array, need_dx: bool) -> Array | None:
        if not need_dx:
            return None
        dx = dy if self.over_dy else self._dx[dy.shape]
        return _core.drop("Dropout.backward", "dy", dy, dx, None, *self._drawn)

    def _next(self, training: bool, width: int) -> tuple[int, int, int]:
        """Return the seed, the stream number and the index of the mask's first element in this stream.

        x is the input of this pass, and `width` is the number of columns of x. If the last call of `sample` had a key,
        the seed and the stream number are those of the key. With a key, x may be one part of a longer input. The index
        is the number of elements in the parts before x. Without a key, the seed and the stream number are the layer's
        own, the index is 0, and each training pass adds 1 to the layer's stream number.
        """
        if self._sampled is not None:
            key, row = self._sampled
            return key.seed, key.stream, row * width
        seed, stream = self._stream.tolist()
        if training:
            self._stream[1] = stream + 1
        return seed, stream, 0
