"""Adam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base import checks
from ._optimizer import Optimizer
from ._options import Option, under_a_flag
from ._params import Array
from ._reference import average, eps_inside_outside, power, square_ema


class Adam(Optimizer):
    r"""Adam: averages of the gradients and of their squares, both corrected because they start from zero.

    ::

        m = m + (1 - beta1) * (g - m)
        v = beta2 * v + (1 - beta2) * g^2
        v_max = max(v_max, v)                                      (with amsgrad, v_max replaces v in the next line)
        p = p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)

    p is the parameter, g its gradient and t the number of the step, from 1.

    Notes
    -----
    Kingma and Ba (2015). `amsgrad` is from Reddi, Kale, Kumar (2018). v_max is the maximum of v itself, and not of
    v / (1 - beta2^t). Same as ``torch.optim.Adam``. States: ``exp_avg`` (m), ``exp_avg_sq`` (v), and with `amsgrad`
    also ``max_exp_avg_sq`` (v_max).

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.Adam([w], lr=0.1)
    >>> _ = opt.step([2 * w])
    >>> w.round(6)
    array([ 0.9, -1.9])
    """

    rule = "adam"
    for_small_networks = {"lr": 3e-3}

    lr = Option(0.001, checks.rate, "Learning rate.")
    betas = Option((0.9, 0.999), checks.betas, "beta1 and beta2, each at least 0 and below 1.")
    eps = Option(
        1e-08,
        checks.non_negative,
        "Keeps the denominator above 0.",
        in_kernel=under_a_flag("eps_inside", "eps_hat", otherwise="eps_outside"),
    )
    weight_decay = Option(0.0, checks.non_negative, "Strength of weight decay. The option `decay` chooses its form.")
    amsgrad = Option(False, checks.flag, "True divides by the root of v_max, the largest v so far.")
    eps_inside = Option(
        False,
        checks.flag,
        "True puts eps inside the root, before the correction: the denominator is sqrt(v + eps) / sqrt(1 - beta2^t).",
        by_name=True,
    )
    eps_hat = Option(
        False,
        checks.flag,
        "True adds eps before the correction, as in TensorFlow and scikit-learn: the denominator is (sqrt(v) + eps) / "
        "sqrt(1 - beta2^t). eps is then the epsilon-hat of the paper's section 2, and eps_inside must be False.",
        by_name=True,
    )

    @classmethod
    def _variant(cls, group: Mapping[str, Any]) -> int:
        if group["eps_hat"] and group["eps_inside"]:
            raise ValueError(f"{cls.__name__}: eps_hat must be False if eps_inside is True; got True for both")
        return super()._variant(group)

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        beta1, beta2 = group["betas"]
        debias = 1.0 / np.sqrt(1.0 - power(beta2, t))
        inside, outside = eps_inside_outside(c, group)
        if group["eps_hat"]:
            outside = c(group["eps"] * debias)
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m[...] = average(m, g, beta1)
        v[...] = square_ema(v, g, beta2)
        if "max_exp_avg_sq" in state:
            v_max = state["max_exp_avg_sq"]
            v_max[...] = np.where(v_max >= v, v_max, v)
            v = v_max
        return p - c(lr / (1.0 - power(beta1, t))) * m / (np.sqrt(v + inside) * c(debias) + outside)
