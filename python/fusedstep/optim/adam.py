"""Adam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base import checks as _checks
from ._optimizer import Optimizer, Rate
from ._params import Array
from ._reference import eps_inside_outside, power

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._optimizer import Common


class Adam(Optimizer):
    r"""Adam: momentum and RMSprop, both corrected for starting from zero.

    ::

        m = m + (1 - beta1) * (g - m)
        v = beta2 * v + (1 - beta2) * g^2
        v_max = max(v_max, v)                                      (amsgrad: then v = v_max below)
        p = p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)

    Parameters
    ----------
    params : list of arrays, {name: array}, or list of groups
        Updated in place; see `Optimizer`.
    lr : float or function of the step
        Learning rate.
    betas : (float, float)
        Decay of the first and of the second moment, each at least 0 and below 1.
    eps : float
        Keeps the denominator from zero.
    weight_decay : float
        L2 penalty (or other `decay`).
    amsgrad : bool
        Divide by the largest second moment so far.
    eps_inside : bool
        True puts eps inside the root, the notes' form: sqrt(v + eps) for sqrt(v) + eps. The bias is corrected after it.
    eps_hat : bool
        True takes eps for the paper's eps^ (section 2), as TensorFlow and scikit-learn do: the bias is corrected after
        it is added, so it counts 1 / sqrt(1 - beta2^t) times. Not with eps_inside.
    **common
        ``maximize``, ``l1``, ``decay``, ``ema_decay``, ``num_threads``; see `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; the message names it, the need and the value.

    Notes
    -----
    Kingma and Ba (2015); amsgrad: Reddi, Kale, Kumar (2018), with the maximum over the raw second moment. Same as
    ``torch.optim.Adam``. States: ``exp_avg`` (m), ``exp_avg_sq`` (v), ``max_exp_avg_sq``.

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
    checks = {
        "betas": _checks.betas,
        "eps": _checks.non_negative,
        "weight_decay": _checks.non_negative,
        "amsgrad": _checks.flag,
        "eps_inside": _checks.flag,
        "eps_hat": _checks.flag,
    }

    def __init__(
        self,
        params: Any,
        lr: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        eps_inside: bool = False,
        eps_hat: bool = False,
        **common: Unpack[Common],
    ) -> None:
        options = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "eps_inside": eps_inside,
            "eps_hat": eps_hat,
        }
        super().__init__(params, options, **common)

    @classmethod
    def _variant(cls, group: Mapping[str, Any]) -> int:
        if group["eps_hat"] and group["eps_inside"]:
            raise ValueError(f"{cls.__name__}: eps_hat must be False with eps_inside; got both")
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
        m[...] = m + c(1.0 - beta1) * (g - m)
        v[...] = c(beta2) * v + c(1.0 - beta2) * (g * g)
        if "max_exp_avg_sq" in state:
            v_max = state["max_exp_avg_sq"]
            v_max[...] = np.where(v_max >= v, v_max, v)
            v = v_max
        return p - c(lr / (1.0 - power(beta1, t))) * m / (np.sqrt(v + inside) * c(debias) + outside)
