"""Lion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._base import checks
from ._optimizer import Optimizer
from ._options import Option
from ._params import Array
from ._reference import sign, term


class Lion(Optimizer):
    r"""Lion: the sign of a mean of momentum and gradient decides whether an element goes up or down by lr.

    ::

        p = p * (1 - lr * weight_decay)
        p = p - lr * sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g

    p is the parameter, g its gradient and m the momentum.

    Notes
    -----
    Chen et al., "Symbolic discovery of optimization algorithms" (2023), algorithm 2. torch has no optimizer of this
    name. sign(nan) is 0. So for an element whose g is nan, the formula with sign leaves p unchanged, and m
    becomes nan. States: ``exp_avg`` (m).

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.Lion([w], lr=0.1)
    >>> _ = opt.step([2 * w])
    >>> w
    array([ 0.9, -1.9])
    """

    rule = "lion"
    in_torch = False
    for_small_networks = {"lr": 3e-4}

    lr = Option(0.0001, checks.rate, "Learning rate. A good value is a tenth to a third of a good rate for Adam.")
    betas = Option(
        (0.9, 0.99),
        checks.betas,
        "beta1 is the weight of m inside the sign, and beta2 is the decay of m. Each is at least 0 and below 1.",
    )
    weight_decay = Option(0.0, checks.non_negative, "Strength of the weight decay.")
    decay = Option("decoupled", checks.decay_form, "Form of weight decay and L1; see `Optimizer`.", by_name=True)

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        beta1, beta2 = group["betas"]
        m = state["exp_avg"]
        direction = sign(term(c(beta1), m) + c(1.0 - beta1) * g)
        m[...] = term(c(beta2), m) + c(1.0 - beta2) * g
        return p - c(lr) * direction
