"""RAdam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base import checks
from .._base.arrays import Array
from ._optimizer import Optimizer
from ._options import Option
from ._reference import average, power, real_power, square_ema


class RAdam(Optimizer):
    r"""RAdam: Adam with a correction for the first steps, when the average of squared gradients has only a few terms.

    ::

        m = m + (1 - beta1) * (g - m)
        v = beta2 * v + (1 - beta2) * g^2
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * t * beta2^t / (1 - beta2^t)
        r = sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
        p = p - lr * r * m / (1 - beta1^t) / ((sqrt(v) + eps) / sqrt(1 - beta2^t))     (if length > 5)
        p = p - lr * m / (1 - beta1^t)                                                 (otherwise)

    p is the parameter, g its gradient and t the number of the step, from 1. length is roughly the number of
    squared gradients that v averages. It grows from step to step, towards longest.

    Notes
    -----
    Liu et al., "On the variance of the adaptive learning rate and beyond" (2020), algorithm 2. Same as
    ``torch.optim.RAdam``. torch's option ``decoupled_weight_decay=True`` is ``decay="decoupled"`` here. States:
    ``exp_avg`` (m), ``exp_avg_sq`` (v).

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.RAdam([w], lr=0.1)
    >>> _ = opt.step([2 * w])
    >>> w.round(6)
    array([ 0.8, -1.6])
    """

    rule = "radam"
    for_small_networks = {"lr": 1e-2}

    lr = Option(0.001, checks.rate, "Learning rate.")
    betas = Option((0.9, 0.999), checks.betas, "beta1 and beta2, each at least 0 and below 1.")
    eps = Option(1e-08, checks.non_negative, "Keeps the denominator above 0.")
    weight_decay = Option(0.0, checks.non_negative, "Strength of weight decay. `decay` sets its form, by default L2.")

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        beta1, beta2 = group["betas"]
        first, second = 1.0 - power(beta1, t), 1.0 - real_power(beta2, t)
        longest = 2.0 / (1.0 - beta2) - 1.0
        length = longest - 2.0 * t * real_power(beta2, t) / second
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m[...] = average(m, g, beta1)
        v[...] = square_ema(v, g, beta2)
        if length <= 5.0:
            return p - c(lr / first) * m
        shorter = second * ((length - 4.0) * (length - 2.0) * longest)
        r = np.sqrt(shorter / ((longest - 4.0) * (longest - 2.0) * length))
        return p - c(lr / first * r) * m / (np.sqrt(v) + c(group["eps"]))
