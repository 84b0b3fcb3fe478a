"""Dropout in a network. A mask is computed from a key and is not stored."""

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
    r"""Set each element to zero with probability p in training; the identity in prediction.

    ::

        y_i = m_i x_i / (1 - p),   P(m_i = 1) = 1 - p       (training;   vanilla: m_i x_i)
        y_i = x_i                                           (prediction; vanilla: (1 - p) x_i)
        dx_i = m_i dy_i / (1 - p)                           (vanilla: m_i dy_i)

    Parameters
    ----------
    p : float
        Probability of dropping, from 0 to 1, rounded to multiples of 1/65536.
    mode : {"inverted", "vanilla"}
        Scale in training (the usual form) or in prediction (the first paper's).

    Attributes
    ----------
    buffers : dict
        ``"stream"``, int64: the seed of the layer's `Philox`, drawn from the model's ``rng`` when the model is made,
        and the number of the stream that the next training pass uses. Both are part of ``state_dict``, so that a
        resumed run draws the same masks as a run without a break.

    Raises
    ------
    TypeError, ValueError
        If p is not a number from 0 to 1, or the mode is unknown.

    Notes
    -----
    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov (2014); see `fusedstep.dropout`. Unlike
    ``torch.nn.Dropout`` it does not use a global generator, and the masks are the same for any number of threads.

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

    # The kernel is called without the checks of `fusedstep.dropout`, which take longer than a small batch.
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
        """Return seed, stream and first element of the mask. In training, move on to the next stream."""
        if self._sampled is not None:
            key, row = self._sampled
            return key.seed, key.stream, row * width
        seed, stream = self._stream.tolist()
        if training:
            self._stream[1] = stream + 1
        return seed, stream, 0
