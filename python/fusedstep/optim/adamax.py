"""Adamax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base import checks
from .._base.arrays import Array
from ._optimizer import Optimizer
from ._options import Option
from ._reference import average, power, term


class Adamax(Optimizer):
    r"""Adamax: Adam with a decaying maximum of the absolute gradients in place of the second moment.

    ::

        m = m + (1 - beta1) * (g - m)
        u = max(beta2 * u, abs(g) + eps)
        p = p - lr / (1 - beta1^t) * m / u

    p is the parameter, g its gradient and t the number of the step, from 1.

    Notes
    -----
    Kingma and Ba, "Adam: a method for stochastic optimization" (2015), section 7.1 and algorithm 2. Same as
    ``torch.optim.Adamax``. States: ``exp_avg`` (m), ``exp_inf`` (u).

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.Adamax([w], lr=0.1)
    >>> _ = opt.step([2 * w])
    >>> w.round(6)
    array([ 0.9, -1.9])
    """

    rule = "adamax"
    for_small_networks = {"lr": 5e-3}

    lr = Option(0.002, checks.rate, "Learning rate.")
    betas = Option((0.9, 0.999), checks.betas, "beta1 and beta2, each at least 0 and below 1.")
    eps = Option(1e-08, checks.non_negative, "Keeps the denominator u above 0.")
    weight_decay = Option(0.0, checks.non_negative, "Strength of weight decay. `decay` sets its form, by default L2.")

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        beta1, beta2 = group["betas"]
        m, u = state["exp_avg"], state["exp_inf"]
        m[...] = average(m, g, beta1)
        before, now = term(c(beta2), u), np.abs(g) + c(group["eps"])
        u[...] = np.where((now > before) | (now != now), now, before)  # nan stays nan
        return p - c(lr / (1.0 - power(beta1, t))) * m / u
