"""Adafactor."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from .._base import checks
from .._base.arrays import Array
from ._directions import Directed, factored, of_vector
from ._options import Option
from ._reference import norm, real_power

#: The distance from 1 to the next larger number of each dtype: the default of eps1.
SPACING = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def _second(name: str, group: Mapping[str, Any]) -> dict[str, Any]:
    return {"eps2": group[name][1]}


_power = lru_cache(16)(real_power)  # with this cache, a step computes the power once for all parameters


class Adafactor(Directed):
    r"""Adafactor: one second moment per row and one per column, and steps in proportion to the parameter's rms.

    ::

        w = t^beta2_decay
        row = row + w * (mean(g^2 over columns) - row);  column = column + w * (mean(g^2 over rows) - column)
        v = row * column / max(mean(row), eps1)          (v = v + w * (g^2 - v) if p has fewer than two axes)
        u = g / max(sqrt(v), eps1)
        p = p * (1 - lr * weight_decay)
        p = p - max(eps2, rms(p)) * min(lr, 1 / sqrt(t)) * u / max(1, rms(u) / d)

    p is the parameter, g its gradient and t the number of the step, from 1. The last two axes are the rows and columns.
    The array "row" has one number for each row, and the array "column" has one for each column. So for an n x m matrix,
    the states have n + m numbers. rms(x) is sqrt(mean(x^2)), and rms(p) is computed before the decay. The results have
    the same bits for any number of threads.

    Notes
    -----
    Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost" (2018). Same as
    ``torch.optim.Adafactor``, whose documentation lists the differences from the paper. States of 16-bit parameters are
    float32. A step needs memory for a copy of the gradients. Clipping and `grad_scale` change g before u is
    computed. L1, `maximize` and the averages of the parameters are applied after u is computed. States: ``row_var``
    (row) and ``col_var`` (column), or ``variance`` (v) if p has fewer than two axes.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([[3.0, -4.0]])
    >>> opt = fs.Adafactor([w], lr=0.1)
    >>> _ = opt.step([2 * w])
    >>> w.round(4)
    array([[ 2.6464, -3.6464]])
    """

    rule = "adafactor"

    lr = Option(
        0.01,
        checks.rate,
        "Learning rate. It limits the step relative to rms(p); see the formula. The weight decay uses lr, and not "
        "min(lr, 1 / sqrt(t)).",
    )
    beta2_decay = Option(
        -0.8, checks.at_most_zero, "Exponent of w = t^beta2_decay, the weight of the newest squares. At most 0."
    )
    eps = Option(
        (None, 0.001),
        checks.eps_pair,
        "The pair (eps1, eps2). If eps1 is None, the step uses the distance from 1 to the next larger number of the "
        "parameter's dtype.",
        in_kernel=_second,
    )
    d = Option(1.0, checks.at_least_one, "If rms(u) is larger than d, u is scaled so that rms(u) is d.")
    weight_decay = Option(0.0, checks.non_negative, "Strength of the weight decay.")
    decay = Option("decoupled", checks.decay_form, "Form of weight decay and L1; see `Optimizer`.", by_name=True)

    @classmethod
    def _own_states(cls, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        if len(shape) < 2:
            return {"variance": shape}
        return {"row_var": (*shape[:-1], 1), "col_var": (*shape[:-2], 1, shape[-1])}

    @classmethod
    def _directed(
        cls, g: Array, state: Mapping[str, Array], t: int, group: Mapping[str, Any], dtype: str
    ) -> tuple[dict[str, Array], Array]:
        """Return the next states, and u of the class's formula."""
        weight, eps = _power(t, group["beta2_decay"]), group["eps"][0]
        eps = SPACING[dtype] if eps is None else eps
        if "variance" in state:
            variance, u = of_vector(g, state["variance"], weight, eps)
            return {"variance": variance}, u
        row, column, u = factored(g, state["row_var"], state["col_var"], weight, eps)
        return {"row_var": row, "col_var": column}, u

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`. Here g is u of the class's formula."""
        c = p.dtype.type
        rms_of_p, rms_of_u = (norm([x], [x.size]) / np.sqrt(float(x.size)) for x in (p, g))
        rate = max(group["eps"][1], rms_of_p) * min(lr, 1.0 / np.sqrt(float(t))) / max(1.0, rms_of_u / group["d"])
        return p * c(1.0 - lr * group["weight_decay"]) - c(rate) * g
