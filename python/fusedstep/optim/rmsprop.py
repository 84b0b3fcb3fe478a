"""RMSprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base import checks as _checks
from ._optimizer import Optimizer, Rate
from ._params import Array
from ._reference import eps_inside_outside

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._optimizer import Common


class RMSprop(Optimizer):
    r"""RMSprop: gradients divided by the root of their running mean square.

    ::

        square_avg = alpha * square_avg + (1 - alpha) * g^2
        grad_avg   = grad_avg + (1 - alpha) * (g - grad_avg)                (centered)
        variance   = max(square_avg - grad_avg^2, 0)  if centered else  square_avg
        d          = g / (sqrt(variance) + eps)
        buf        = momentum * buf + d                                     (momentum > 0: then d = buf)
        p          = p - lr * d

    Parameters
    ----------
    params : list of arrays, {name: array}, or list of groups
        Updated in place; see `Optimizer`.
    lr : float or function of the step
        Learning rate.
    alpha : float
        Decay of the averages, at least 0 and below 1.
    eps : float
        Keeps the denominator from zero.
    weight_decay : float
        L2 penalty (or other `decay`).
    momentum : float
        At least 0 and below 1; 0 keeps no buffer.
    centered : bool
        Divide by the standard deviation instead of the root mean square.
    eps_inside : bool
        True puts eps inside the root, the notes' form: sqrt(variance + eps) for sqrt(variance) + eps.
    **common
        ``maximize``, ``l1``, ``decay``, ``ema_decay``, ``num_threads``; see `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; the message names it, the need and the value.

    Notes
    -----
    Tieleman and Hinton (2012); centered: Graves (2013). Same as ``torch.optim.RMSprop``, except that rounding
    cannot make the centered variance negative: it is clamped at zero, where torch's step becomes nan.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.RMSprop([w], lr=0.01)
    >>> _ = opt.step([2 * w])
    >>> w.round(6)
    array([ 0.9, -1.9])
    """

    rule = "rmsprop"
    for_small_networks = {"lr": 1e-3}
    checks = {
        "alpha": _checks.fraction,
        "eps": _checks.non_negative,
        "weight_decay": _checks.non_negative,
        "momentum": _checks.fraction,
        "centered": _checks.flag,
        "eps_inside": _checks.flag,
    }

    def __init__(
        self,
        params: Any,
        lr: Rate = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        eps_inside: bool = False,
        **common: Unpack[Common],
    ) -> None:
        options = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "eps_inside": eps_inside,
        }
        super().__init__(params, options, **common)

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        alpha, rest = c(group["alpha"]), c(1.0 - group["alpha"])
        inside, outside = eps_inside_outside(c, group)
        square_avg = state["square_avg"]
        square_avg[...] = alpha * square_avg + rest * (g * g)
        variance = square_avg
        if "grad_avg" in state:
            grad_avg = state["grad_avg"]
            grad_avg[...] = grad_avg + rest * (g - grad_avg)
            variance = square_avg - grad_avg * grad_avg
            variance = np.where(variance < 0, c(0), variance)
        d = g / (np.sqrt(variance + inside) + outside)
        if "momentum_buffer" in state:
            buf = state["momentum_buffer"]
            buf[...] = c(group["momentum"]) * buf + d
            d = buf
        return p - c(lr) * d
