"""NAdam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base import checks
from .._base.arrays import Array
from ._optimizer import Optimizer
from ._options import Option
from ._reference import average, power, real_power, scalar, square_ema


class NAdam(Optimizer):
    r"""NAdam: Adam with Nesterov's momentum, whose weight mu_t grows from step to step.

    ::

        mu_t = beta1 * (1 - 0.5 * 0.96^(t * momentum_decay))
        product_t = mu_1 * mu_2 * ... * mu_t
        m = m + (1 - beta1) * (g - m)
        v = beta2 * v + (1 - beta2) * g^2
        d = (1 - mu_t) / (1 - product_t) * g + mu_(t+1) / (1 - product_(t+1)) * m
        p = p - lr * d / (sqrt(v) / sqrt(1 - beta2^t) + eps)

    p is the parameter, g its gradient and t the number of the step, from 1.

    Notes
    -----
    Dozat, "Incorporating Nesterov momentum into Adam" (2016). Same as ``torch.optim.NAdam``. torch's option
    ``decoupled_weight_decay=True`` is ``decay="decoupled"`` here. States: ``exp_avg`` (m), ``exp_avg_sq`` (v), and
    ``mu_product`` (product_t), which is rounded to float32 as in torch.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.NAdam([w], lr=0.1)
    >>> _ = opt.step([2 * w])
    >>> w.round(6)
    array([ 0.894355, -1.894355])
    """

    rule = "nadam"
    for_small_networks = {"lr": 3e-3}

    lr = Option(0.002, checks.rate, "Learning rate.")
    betas = Option((0.9, 0.999), checks.betas, "beta1 and beta2, each at least 0 and below 1.")
    eps = Option(1e-08, checks.non_negative, "Keeps the denominator above 0.")
    weight_decay = Option(0.0, checks.non_negative, "Strength of weight decay. `decay` sets its form, by default L2.")
    momentum_decay = Option(0.004, checks.non_negative, "How fast mu_t grows from beta1 / 2 to beta1.")

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        beta1, beta2 = group["betas"]
        mu, following = (beta1 * (1.0 - 0.5 * real_power(0.96, k * group["momentum_decay"])) for k in (t, t + 1))
        state["mu_product"][...] = np.float32(scalar(state, "mu_product")) * np.float32(mu)
        product = scalar(state, "mu_product")
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m[...] = average(m, g, beta1)
        v[...] = square_ema(v, g, beta2)
        size = np.sqrt(v) * c(1.0 / np.sqrt(1.0 - power(beta2, t))) + c(group["eps"])
        p = p - c(lr * (1.0 - mu) / (1.0 - product)) * g / size
        return p - c(lr * following / (1.0 - product * following)) * m / size
