"""LAMB."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base import checks
from .._base.arrays import Array
from ._optimizer import Optimizer
from ._options import Option, as_number
from ._reference import average, norm, power, square_ema


class LAMB(Optimizer):
    r"""LAMB: Adam whose step is scaled to the norm of the parameter, for large batches.

    ::

        m = m + (1 - beta1) * (g - m)
        v = beta2 * v + (1 - beta2) * g^2
        u = m / (1 - beta1^t) / (sqrt(v) / sqrt(1 - beta2^t) + eps) + weight_decay * p
        p = p - lr * norm(p) / norm(u) * u
        p = p - lr * u                               (instead, if norm(p) or norm(u) is 0, or if adapt=False)

    p is the parameter, g its gradient and t the number of the step, from 1. Each norm is over a whole array,
    and has the same bits for any number of threads.

    Notes
    -----
    You et al., "Large batch optimization for deep learning: training BERT in 76 minutes" (2020), algorithm 2. But
    here norm(p) has no lower or upper limit. Biases, and the gains of normalisation layers, usually need no scaling by
    norms and no decay. Put them into a group with ``adapt=False, weight_decay=0``. With ``decay="decoupled"``, the
    penalty `l1` is applied before the norms are computed. torch has no optimizer of this name. States: ``exp_avg`` (m),
    ``exp_avg_sq`` (v).

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([3.0, -4.0])
    >>> opt = fs.LAMB([w], lr=0.1, weight_decay=0.0)
    >>> _ = opt.step([2 * w])
    >>> w.round(4)
    array([ 2.6464, -3.6464])
    """

    rule = "lamb"
    in_torch = False
    element_wise = False
    for_small_networks = {"lr": 0.01}

    lr = Option(0.001, checks.rate, "Learning rate.")
    betas = Option((0.9, 0.999), checks.betas, "beta1 and beta2, each at least 0 and below 1.")
    eps = Option(1e-06, checks.non_negative, "Keeps the denominator above 0.")
    weight_decay = Option(0.01, checks.non_negative, "Strength of the weight decay.")
    adapt = Option(True, checks.flag, "True scales the step by the norms.", by_name=True, in_kernel=as_number)
    decay = Option("decoupled", checks.decay_form, "Form of weight decay and L1; see `Optimizer`.", by_name=True)

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m[...] = average(m, g, beta1)
        v[...] = square_ema(v, g, beta2)
        debias = c(1.0 / np.sqrt(1.0 - power(beta2, t)))
        u = m * c(1.0 / (1.0 - power(beta1, t))) / (np.sqrt(v) * debias + c(group["eps"]))
        u = u + c(group["weight_decay"]) * p
        of_p, of_u = norm([p], [p.size]), norm([u], [u.size])
        return p - c(lr * (of_p / of_u) if group["adapt"] and of_p > 0 and of_u > 0 else lr) * u
