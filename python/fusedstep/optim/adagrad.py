"""Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base import checks
from ._optimizer import Optimizer
from ._options import Option, under_a_flag
from ._params import Array
from ._reference import eps_inside_outside


class Adagrad(Optimizer):
    r"""Adagrad: each element's learning rate falls when the sum of its squared gradients grows.

    ::

        sum = sum + g^2
        p   = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum) + eps)

    p is the parameter, g its gradient and t the number of the step, from 1.

    Notes
    -----
    Duchi, Hazan, Singer (2011). Same as ``torch.optim.Adagrad``. States: ``sum``.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.Adagrad([w], lr=0.5)
    >>> _ = opt.step([2 * w])
    >>> w.round(6)
    array([ 0.5, -1.5])
    """

    rule = "adagrad"
    takes_rows = True
    for_small_networks = {"lr": 0.03}

    lr = Option(0.01, checks.rate, "Learning rate.")
    lr_decay = Option(0.0, checks.non_negative, "The learning rate of step t is lr / (1 + (t - 1) * lr_decay).")
    weight_decay = Option(0.0, checks.non_negative, "Strength of weight decay. The option `decay` chooses its form.")
    initial_accumulator_value = Option(0.0, checks.non_negative, "Initial value of `sum`.", begins_state=True)
    eps = Option(
        1e-10,
        checks.non_negative,
        "Keeps the denominator above 0.",
        in_kernel=under_a_flag("eps_inside", otherwise="eps_outside"),
    )
    eps_inside = Option(
        False,
        checks.flag,
        "True puts eps inside the root: sqrt(sum + eps) instead of sqrt(sum) + eps.",
        by_name=True,
    )

    @classmethod
    def _initial_state(cls, name: str, group: Mapping[str, Any]) -> float:
        return float(group["initial_accumulator_value"])

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        inside, outside = eps_inside_outside(c, group)
        total = state["sum"]
        total[...] = total + g * g
        return p - c(lr / (1.0 + (t - 1) * group["lr_decay"])) * g / (np.sqrt(total + inside) + outside)
