"""LARS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._base import checks
from .._base.arrays import Array
from ._optimizer import Optimizer
from ._options import Option, as_number
from ._reference import norm, term


class LARS(Optimizer):
    r"""LARS: gradient descent with momentum, for large batches. The norms of parameter and gradient set the rate.

    ::

        rate = lr * trust_coefficient * norm(p) / (norm(g) + weight_decay * norm(p))
        rate = lr                                    (instead, if norm(p) or norm(g) is 0, or if adapt=False)
        buf = momentum * buf + rate * (g + weight_decay * p)
        p = p - buf

    p is the parameter and g its gradient. Each norm is over a whole array, and has the same bits for any number of
    threads.

    Notes
    -----
    You, Gitman, Ginsburg, "Large batch training of convolutional networks" (2017), algorithm 1. Biases, and the
    gains of normalisation layers, usually need no scaling by norms and no decay. Put them into a group with
    ``adapt=False, weight_decay=0`` and a smaller lr, because `trust_coefficient` is not a factor of their rate.
    With ``decay="decoupled"``, the penalty `l1` is applied before the norms are computed. torch has no optimizer of
    this name. States: ``momentum_buffer`` (buf).

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([3.0, -4.0])
    >>> opt = fs.LARS([w], lr=100.0)
    >>> _ = opt.step([2 * w])
    >>> w.round(6)
    array([ 2.7, -3.6])
    """

    rule = "lars"
    in_torch = False
    element_wise = False
    for_small_networks = {"lr": 10.0}

    lr = Option(1.0, checks.rate, "Learning rate.")
    momentum = Option(0.9, checks.fraction, "Decay of buf, at least 0 and below 1.")
    weight_decay = Option(0.0, checks.non_negative, "Strength of the weight decay.")
    trust_coefficient = Option(0.001, checks.positive, "Factor of norm(p) in the rate, above 0.")
    adapt = Option(True, checks.flag, "True scales the rate by the norms.", by_name=True, in_kernel=as_number)
    decay = Option("decoupled", checks.decay_form, "Form of weight decay and L1; see `Optimizer`.", by_name=True)

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        weight_decay, of_p, of_g = group["weight_decay"], norm([p], [p.size]), norm([g], [g.size])
        rate = lr
        if group["adapt"] and of_p > 0 and of_g > 0:
            rate = lr * (group["trust_coefficient"] * of_p / (of_g + weight_decay * of_p))
        buf = state["momentum_buffer"]
        buf[...] = term(c(group["momentum"]), buf) + c(rate) * (g + c(weight_decay) * p)
        return p - buf
