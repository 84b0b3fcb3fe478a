"""AdEMAMix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base import checks
from .._base.arrays import Array
from ._optimizer import Optimizer
from ._options import Option
from ._reference import average, exp, log, power, square_ema


class AdEMAMix(Optimizer):
    r"""AdEMAMix: Adam with a slow and a fast average of the gradients.

    ::

        alpha_t = alpha * min(t / alpha_warmup, 1)                        (alpha if alpha_warmup is 0)
        s = min(t / beta3_warmup, 1)                                      (1 if beta3_warmup is 0)
        beta3_t = exp(1 / ((1 - s) / log(beta1) + s / log(beta3)))
        m1 = m1 + (1 - beta1) * (g - m1)
        m2 = m2 + (1 - beta3_t) * (g - m2)
        v = beta2 * v + (1 - beta2) * g^2
        p = p * (1 - lr * weight_decay)
        p = p - lr * (m1 / (1 - beta1^t) + alpha_t * m2) / (sqrt(v) / sqrt(1 - beta2^t) + eps)

    p is the parameter, g its gradient and t the number of the step, from 1. m1 is the fast average, m2 the slow one,
    and v is the average of g^2.

    Notes
    -----
    Pagliardini, Ablin, Grangier, "The AdEMAMix optimizer: better, faster, older" (2024). Set both `alpha_warmup` and
    `beta3_warmup` to the number of steps of the training. While beta3_t grows to beta3, the half-life of the slow
    average m2 grows linearly. torch has no optimizer of this name. States: ``exp_avg_fast`` (m1), ``exp_avg_slow``
    (m2), ``exp_avg_sq`` (v).

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.AdEMAMix([w], lr=0.1)
    >>> _ = opt.step([2 * w])
    >>> w.round(6)
    array([ 0.89998, -1.89998])
    """

    rule = "ademamix"
    in_torch = False
    for_small_networks = {"lr": 3e-3}

    lr = Option(0.001, checks.rate, "Learning rate.")
    betas = Option((0.9, 0.999, 0.9999), checks.three_betas, "beta1, beta2 and beta3, each at least 0 and below 1.")
    alpha = Option(2.0, checks.non_negative, "Weight of the slow average m2.")
    beta3_warmup = Option(0.0, checks.non_negative, "Number of steps until beta3_t is beta3.")
    alpha_warmup = Option(0.0, checks.non_negative, "Number of steps until alpha_t is alpha.")
    eps = Option(1e-08, checks.non_negative, "Keeps the denominator above 0.")
    weight_decay = Option(0.0, checks.non_negative, "Strength of the weight decay.")
    decay = Option("decoupled", checks.decay_form, "Form of weight decay and L1; see `Optimizer`.", by_name=True)

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        beta1, beta2, beta3 = group["betas"]
        alpha = group["alpha"]
        if t < group["alpha_warmup"]:
            alpha *= t / group["alpha_warmup"]
        if t < group["beta3_warmup"] and beta3 > 0:
            s = t / group["beta3_warmup"]
            beta3 = exp(1.0 / (((1.0 - s) / log(beta1) if beta1 > 0 else 0.0) + s / log(beta3)))
        fast, slow, v = state["exp_avg_fast"], state["exp_avg_slow"], state["exp_avg_sq"]
        fast[...] = average(fast, g, beta1)
        slow[...] = average(slow, g, beta3)
        v[...] = square_ema(v, g, beta2)
        both = fast * c(1.0 / (1.0 - power(beta1, t))) + c(alpha) * slow
        return p - c(lr) * both / (np.sqrt(v) * c(1.0 / np.sqrt(1.0 - power(beta2, t))) + c(group["eps"]))
