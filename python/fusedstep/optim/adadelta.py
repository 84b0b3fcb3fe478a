"""Adadelta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base import checks
from ._optimizer import Optimizer
from ._options import Option
from ._params import Array
from ._reference import square_ema


class Adadelta(Optimizer):
    r"""Adadelta: each update has the units of the parameter, so the learning rate needs no tuning.

    ::

        square_avg = rho * square_avg + (1 - rho) * g^2
        delta      = sqrt(acc_delta + eps) / sqrt(square_avg + eps) * g
        acc_delta  = rho * acc_delta + (1 - rho) * delta^2
        p          = p - lr * delta

    p is the parameter and g its gradient.

    Notes
    -----
    Zeiler (2012). The paper has no lr. Its algorithm is this one with lr = 1. Same as ``torch.optim.Adadelta``.
    States: ``square_avg``, ``acc_delta``.

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

    lr = Option(1.0, checks.rate, "Learning rate.")
    rho = Option(0.9, checks.fraction, "Decay of square_avg and acc_delta, at least 0 and below 1.")
    eps = Option(
        1e-06, checks.non_negative, "Added inside both roots, as in torch. It decides the size of the first step."
    )
    weight_decay = Option(0.0, checks.non_negative, "Strength of weight decay. The option `decay` chooses its form.")

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        rho, eps = group["rho"], c(group["eps"])
        square_avg, acc_delta = state["square_avg"], state["acc_delta"]
        square_avg[...] = square_ema(square_avg, g, rho)
        delta = np.sqrt(acc_delta + eps) / np.sqrt(square_avg + eps) * g
        acc_delta[...] = square_ema(acc_delta, delta, rho)
        return p - c(lr) * delta
