"""Gradient descent without a learning-rate schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._base import checks
from .._base.arrays import Array
from ._options import Option
from ._reference import next_share
from ._schedule_free import ScheduleFree


class SGDScheduleFree(ScheduleFree):
    r"""Gradient descent that averages its points instead of using a learning-rate schedule.

    ::

        lr_t = lr * min(t / warmup_steps, 1)                         (lr if warmup_steps is 0)
        w_t  = t^r * max(lr_1, ..., lr_t)^weight_lr_power
        z = z - lr_t * (g + weight_decay * y)
        x = x + w_t / (w_1 + ... + w_t) * (z - x)                    (before the first step x, y, z are the same)
        y = momentum * x + (1 - momentum) * z                        (the parameters)

    The parameters are y, g is the gradient at y, and t is the number of the step, from 1. x is a weighted average of z.
    Evaluate the model inside a ``with`` block of `averaged`. In this block, the parameters are x. The running
    statistics of batch normalisation are those of a model with the parameters y. So measure them again in the block,
    with `fusedstep.nn.measure_batch_norm`.

    Notes
    -----
    Defazio et al., "The road less scheduled" (2024), algorithm 1. Same as the authors' ``SGDScheduleFree``. The forms
    "l2" and "decoupled" of the option `decay` give the same weight decay. Weight decay of the form "proximal" is
    applied only to y, and so is L1 of the forms "decoupled" and "proximal". torch has no optimizer of this name.
    States: ``z``, ``weight_sum`` (w_1 + ... + w_t) and ``lr_max`` (the largest of lr_1, ..., lr_t). x is not stored:
    `averaged` computes x from y and z.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.SGDScheduleFree([w], lr=0.25)
    >>> for _ in range(2):
    ...     _ = opt.step([2 * w])
    >>> with opt.averaged():
    ...     print(w)
    [ 0.375 -0.75 ]
    """

    rule = "sgd_schedule_free"
    in_torch = False
    interpolation = "momentum"
    for_small_networks = {"lr": 0.5}

    lr = Option(1.0, checks.rate, "Learning rate.")
    momentum = Option(0.9, checks.open_fraction, "The share of x in y, above 0 and below 1.")
    weight_decay = Option(0.0, checks.non_negative, "Strength of the weight decay, which is computed from y.")
    warmup_steps = Option(0.0, checks.non_negative, "Number of steps in which the rate grows to lr.")
    r = Option(0.0, checks.non_negative, "Exponent of the step number t in the weight w_t.")
    weight_lr_power = Option(2.0, checks.non_negative, "Exponent of max(lr_1, ..., lr_t) in the weight w_t.")

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        if t < group["warmup_steps"]:
            lr *= t / group["warmup_steps"]
        share = next_share(lr, t, group, state)
        z = p.copy() if t == 1 else state["z"]
        d = g + c(group["weight_decay"]) * p
        y = p - c(share) * (p - z) - c(lr * (1.0 - group["momentum"] * (1.0 - share))) * d
        state["z"][...] = z - c(lr) * d
        return y
