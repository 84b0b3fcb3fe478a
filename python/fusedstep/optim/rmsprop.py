"""RMSprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base import checks
from ._optimizer import Optimizer
from ._options import Option, under_a_flag
from ._params import Array
from ._reference import average, eps_inside_outside, square_ema, term


class RMSprop(Optimizer):
    r"""RMSprop: gradients divided by the root of their running mean square.

    ::

        square_avg = alpha * square_avg + (1 - alpha) * g^2
        grad_avg   = grad_avg + (1 - alpha) * (g - grad_avg)                (if centered)
        variance   = max(square_avg - grad_avg^2, 0)  if centered else  square_avg
        d          = g / (sqrt(variance) + eps)
        buf        = momentum * buf + d                                     (if momentum > 0)
        d          = buf                                                    (if momentum > 0)
        p          = p - lr * d

    p is the parameter and g its gradient.

    Notes
    -----
    Tieleman and Hinton (2012). The option `centered` is from Graves (2013). RMSprop is the same as
    ``torch.optim.RMSprop``, except that here the variance is at least 0. In torch, rounding can make the variance
    negative. Its root is then nan, and the parameter becomes nan. States: ``square_avg``, ``grad_avg`` (if centered)
    and ``momentum_buffer`` (buf, if momentum > 0).

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

    lr = Option(0.01, checks.rate, "Learning rate.")
    alpha = Option(0.99, checks.fraction, "Decay of square_avg and grad_avg, at least 0 and below 1.")
    eps = Option(
        1e-08,
        checks.non_negative,
        "Keeps the denominator above 0.",
        in_kernel=under_a_flag("eps_inside", otherwise="eps_outside"),
    )
    weight_decay = Option(0.0, checks.non_negative, "Strength of weight decay. `decay` sets its form, by default L2.")
    momentum = Option(0.0, checks.fraction, "Decay of buf, at least 0 and below 1. With 0, there is no buf.")
    centered = Option(
        False, checks.flag, "True divides g by its running standard deviation instead of its root mean square."
    )
    eps_inside = Option(
        False,
        checks.flag,
        "True puts eps inside the root: sqrt(variance + eps) instead of sqrt(variance) + eps.",
        by_name=True,
    )

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        inside, outside = eps_inside_outside(c, group)
        square_avg = state["square_avg"]
        square_avg[...] = square_ema(square_avg, g, group["alpha"])
        variance = square_avg
        if "grad_avg" in state:
            grad_avg = state["grad_avg"]
            grad_avg[...] = average(grad_avg, g, group["alpha"])
            variance = np.where(square_avg == np.inf, square_avg, square_avg - grad_avg * grad_avg)
            variance = np.where(variance < 0, c(0), variance)
        d = g / (np.sqrt(variance + inside) + outside)
        if "momentum_buffer" in state:
            buf = state["momentum_buffer"]
            buf[...] = term(c(group["momentum"]), buf) + d
            d = buf
        return p - c(lr) * d
