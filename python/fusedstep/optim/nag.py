"""Nesterov's accelerated gradient in the look-ahead form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._base import checks
from .._base.memory import copies_of
from ._optimizer import Optimizer
from ._options import Option
from ._params import Array
from ._reference import term


class NAG(Optimizer):
    r"""Nesterov's accelerated gradient: gradients are computed at the point to which the momentum alone would lead.

    ::

        g = gradient at (p - lr * momentum * buf)         (compute it inside a ``with`` block of `lookahead`)
        buf = momentum * buf + g
        p = p - lr * buf

    p is the parameter, and p - lr * momentum * buf is its look-ahead point.

    Notes
    -----
    Nesterov (1983), in the look-ahead form. torch has only the form ``SGD(nesterov=True)``, whose parameters are the
    look-ahead points. States: ``momentum_buffer`` (buf).

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.NAG([w], lr=0.1, momentum=0.5)
    >>> for _ in range(2):
    ...     with opt.lookahead():
    ...         gradient = 2 * w
    ...     _ = opt.step([gradient])
    >>> w.round(6)
    array([ 0.56, -1.12])
    """

    rule = "sgd"
    in_torch = False
    for_small_networks = {"lr": 0.03}

    lr = Option(0.001, checks.rate, "Learning rate.")
    momentum = Option(0.9, checks.open_fraction, "Decay of buf, above 0 and below 1.")
    weight_decay = Option(0.0, checks.non_negative, "Strength of weight decay. `decay` sets its form, by default L2.")

    _ahead: list[Array] | None = None  # the look-ahead points; inside a block of `lookahead`, the old parameters

    @contextmanager
    def lookahead(self) -> Iterator[None]:
        """Swap the parameters with their look-ahead points, in place, inside a ``with`` block.

        The look-ahead point of a parameter p is ``p - lr * momentum * momentum_buffer``. Compute the gradients inside
        the block. At its end, the parameters get their old values back, bit for bit.

        Raises
        ------
        RuntimeError
            If `step` is called inside the block.
        TypeError, ValueError
            If a schedule returns an invalid learning rate, or a parameter is read-only or was resized. If a parameter
            was resized inside the block, no parameter gets its old values back.
        """
        with self._reserved("lookahead", self._points_ahead):
            yield

    def _points_ahead(self) -> list[Array]:
        rates = self._rates(None)
        if self._ahead is None:
            self._ahead = copies_of(self._arrays)
        for key, p, ahead, k in zip(self._keys, self._arrays, self._ahead, self._group_of, strict=True):
            np.multiply(
                p.dtype.type(rates[k] * self._groups[k]["momentum"]), self._state[key]["momentum_buffer"], ahead
            )
            np.subtract(p, ahead, ahead)
        return self._ahead

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        buf = state["momentum_buffer"]
        buf[...] = term(c(group["momentum"]), buf) + g
        return p - c(lr) * buf
