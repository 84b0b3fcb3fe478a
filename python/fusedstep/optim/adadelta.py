"""Adadelta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base import checks as _checks
from ._optimizer import Optimizer, Rate
from ._params import Array

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._optimizer import Common


class Adadelta(Optimizer):
    r"""Adadelta: steps in the units of the parameters, without a learning rate to tune.

    ::

        square_avg = rho * square_avg + (1 - rho) * g^2
        delta      = sqrt(acc_delta + eps) / sqrt(square_avg + eps) * g
        acc_delta  = rho * acc_delta + (1 - rho) * delta^2
        p          = p - lr * delta

    Parameters
    ----------
    params : list of arrays, {name: array}, or list of groups
        Updated in place; see `Optimizer`.
    lr : float or function of the step
        Learning rate.
    rho : float
        Decay of both averages, at least 0 and below 1.
    eps : float
        Inside both roots, in the notes as in torch; the first step's size comes from it.
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
    Zeiler (2012), where lr is 1. Same as ``torch.optim.Adadelta``.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.Adadelta([w], lr=1.0)
    >>> _ = opt.step([2 * w])
    >>> w.round(6)
    array([ 0.996838, -1.996838])
    """

    rule = "adadelta"
    checks = {
        "rho": _checks.fraction,
        "eps": _checks.non_negative,
        "weight_decay": _checks.non_negative,
    }

    def __init__(
        self,
        params: Any,
        lr: Rate = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        options = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
        }
        super().__init__(params, options, **common)

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        rho, rest, eps = c(group["rho"]), c(1.0 - group["rho"]), c(group["eps"])
        square_avg, acc_delta = state["square_avg"], state["acc_delta"]
        square_avg[...] = rho * square_avg + rest * (g * g)
        delta = np.sqrt(acc_delta + eps) / np.sqrt(square_avg + eps) * g
        acc_delta[...] = rho * acc_delta + rest * (delta * delta)
        return p - c(lr) * delta
