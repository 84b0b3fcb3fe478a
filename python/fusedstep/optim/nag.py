"""Nesterov's accelerated gradient in the look-ahead form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base import checks as _checks
from .._base.memory import copies_of
from ._optimizer import Optimizer, Rate
from ._params import Array

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._optimizer import Common


class NAG(Optimizer):
    r"""Nesterov's accelerated gradient: the gradient is taken where the momentum is about to lead.

    ::

        g = gradient at p - lr * momentum * buf           (compute it inside `lookahead`)
        buf = momentum * buf + g
        p = p - lr * buf

    Parameters
    ----------
    params : list of arrays, {name: array}, or list of groups
        Updated in place; see `Optimizer`.
    lr : float or function of the step
        Learning rate.
    momentum : float
        Above 0 and below 1.
    weight_decay : float
        L2 penalty (or other `decay`).
    **common
        ``maximize``, ``l1``, ``decay``, ``ema_decay``, ``num_threads``; see `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; the message names it, the need and the value.

    Notes
    -----
    Nesterov (1983), as in the courses' notes. torch has only the form in the shifted variable, which is
    ``SGD(nesterov=True)``: there the parameters themselves are the look-ahead points.

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
    checks = {"momentum": _checks.open_fraction, "weight_decay": _checks.non_negative}

    def __init__(
        self,
        params: Any,
        lr: Rate = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}, **common)
        self._ahead: list[Array] | None = None  # the look-ahead points; or the parameters, if those lie there

    @contextmanager
    def lookahead(self) -> Iterator[None]:
        """Put the look-ahead points into the parameters, in place, and the parameters back at the end, bit for bit.

        Raises
        ------
        RuntimeError
            For a step inside.
        TypeError, ValueError
            If a schedule gives no learning rate, or a parameter is read-only or was resized. A resize inside keeps all
            of them from being put back.
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
        buf[...] = c(group["momentum"]) * buf + g
        return p - c(lr) * buf
