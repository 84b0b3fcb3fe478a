"""AdamW without a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base import checks
from .._base.arrays import Array
from ._options import Option
from ._reference import next_share, power, square_ema
from ._schedule_free import ScheduleFree


class AdamWScheduleFree(ScheduleFree):
    r"""AdamW without a learning-rate schedule: the model is evaluated at the average x of the points z.

    ::

        lr_t = lr * min(t / warmup_steps, 1)                         (lr if warmup_steps is 0)
        w_t  = t^r * max(lr_1, ..., lr_t)^weight_lr_power
        v = beta2 * v + (1 - beta2) * g^2
        z = z - lr_t * (g / (sqrt(v) / sqrt(1 - beta2^t) + eps) + weight_decay * y)
        x = x + w_t / (w_1 + ... + w_t) * (z - x)                    (before the first step, x, y and z are equal)
        y = beta1 * x + (1 - beta1) * z                              (the parameters)

    The parameters are y, g is the gradient at y, and t is the number of the step, from 1. Evaluate the model inside a
    ``with`` block of `averaged`. In this block, the parameters are x. The running statistics of batch normalisation are
    those of a model with the parameters y. So measure them again in the block, with `fusedstep.nn.measure_batch_norm`.

    Notes
    -----
    Defazio et al., "The road less scheduled" (2024). Same as the authors' ``AdamWScheduleFree``. With
    ``decay="decoupled"``, `weight_decay` acts through the formulas above and changes both z and y. `l1` changes y
    before the formulas are computed. With ``decay="proximal"``, the formulas are computed with a weight decay of 0.
    Afterwards, `weight_decay` and `l1` change y. torch has no optimizer of this name. States: ``z``, ``exp_avg_sq``
    (v), ``weight_sum`` (w_1 + ... + w_t) and ``lr_max`` (the largest of lr_1, ..., lr_t). x is not stored, but computed
    from y and z.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.AdamWScheduleFree([w], lr=0.1)
    >>> for _ in range(2):
    ...     _ = opt.step([2 * w])
    >>> with opt.averaged():
    ...     print(w.round(4))
    [ 0.8527 -1.8513]
    """

    rule = "adamw_schedule_free"
    in_torch = False
    interpolation = "betas"
    for_small_networks = {"lr": 1e-2}

    lr = Option(0.0025, checks.rate, "Learning rate.")
    betas = Option(
        (0.9, 0.999),
        checks.betas_of_interpolation,
        "beta1, the share of x in y, above 0 and below 1. beta2, the decay of v, at least 0 and below 1.",
    )
    eps = Option(1e-08, checks.non_negative, "Keeps the denominator above 0.")
    weight_decay = Option(0.0, checks.non_negative, "Strength of the weight decay, which is computed from y.")
    warmup_steps = Option(0.0, checks.non_negative, "Number of steps at the start in which the rate grows to lr.")
    r = Option(0.0, checks.non_negative, "Exponent of the step number t in the weight w_t.")
    weight_lr_power = Option(2.0, checks.non_negative, "Exponent of max(lr_1, ..., lr_t) in the weight w_t.")
    decay = Option("decoupled", checks.decay_form, "Form of weight decay and L1; see `Optimizer`.", by_name=True)

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        beta1, beta2 = group["betas"]
        if t < group["warmup_steps"]:
            lr *= t / group["warmup_steps"]
        share = next_share(lr, t, group, state)
        z, v = p.copy() if t == 1 else state["z"], state["exp_avg_sq"]
        v[...] = square_ema(v, g, beta2)
        d = g / (np.sqrt(v) * c(1.0 / np.sqrt(1.0 - power(beta2, t))) + c(group["eps"]))
        d = d + c(group["weight_decay"]) * p
        y = p - c(share) * (p - z) - c(lr * (1.0 - beta1 * (1.0 - share))) * d
        state["z"][...] = z - c(lr) * d
        return y
