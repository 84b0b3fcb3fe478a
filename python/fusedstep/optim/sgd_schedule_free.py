"""Gradient descent without a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._base import checks
from .._base.arrays import Array
from ._options import Option
from ._reference import next_share
from ._schedule_free import ScheduleFree


class SGDScheduleFree(ScheduleFree):
    r"""Gradient descent that needs no schedule: gradients at y, descent of z, evaluation at the average x.

    ::

        lr_t = lr * min(t / warmup_steps, 1)
        w_t  = t^r * max(lr_1 ... lr_t)^weight_lr_power
        z = z - lr_t * (g + weight_decay * y)
        x = x + w_t / (w_1 + ... + w_t) * (z - x)                    (before the first step x, y, z are the same)
        y = momentum * x + (1 - momentum) * z                        (the parameters)

    Evaluate inside `averaged`, where the parameters are x. The running statistics of batch normalisation were measured
    at y: measure them again inside `averaged` (`fusedstep.nn.measure_batch_norm`).

    Notes
    -----
    Defazio et al., "The road less scheduled" (2024), algorithm 1; the same as the authors' ``SGDScheduleFree``. L2 and
    decoupled decay are the same here. Decoupled L1 and the proximal form act on y alone. torch has no
    optimizer of this name. States: ``z``, and ``weight_sum`` (w_1 + ... + w_t) and ``lr_max``; x follows from y and z.

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
    weight_decay = Option(0.0, checks.non_negative, "L2 penalty, at y.")
    warmup_steps = Option(0.0, checks.non_negative, "Steps over which the rate grows to lr.")
    r = Option(0.0, checks.non_negative, "Power of the step in the weights of the average.")
    weight_lr_power = Option(2.0, checks.non_negative, "Power of the largest rate in the weights of the average.")

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
