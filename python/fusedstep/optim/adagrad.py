"""Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._base import checks as _checks
from ._optimizer import Optimizer, Rate
from ._params import Array
from ._reference import eps_inside_outside

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._optimizer import Common


class Adagrad(Optimizer):
    r"""Adagrad: each element's learning rate falls with the sum of its squared gradients.

    ::

        sum = sum + g^2
        p   = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum) + eps)

    Parameters
    ----------
    params : list of arrays, {name: array}, or list of groups
        Updated in place; see `Optimizer`.
    lr : float or function of the step
        Learning rate.
    lr_decay : float
        Decay of the learning rate over the steps t, from 1.
    weight_decay : float
        L2 penalty (or other `decay`).
    initial_accumulator_value : float
        What `sum` starts from.
    eps : float
        Keeps the denominator from zero.
    eps_inside : bool
        True puts eps inside the root, the notes' form: sqrt(sum + eps) for sqrt(sum) + eps.
    **common
        ``maximize``, ``l1``, ``decay``, ``ema_decay``, ``num_threads``; see `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; the message names it, the need and the value.

    Notes
    -----
    Duchi, Hazan, Singer (2011). Same as ``torch.optim.Adagrad``, whose eps is outside the root.

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
    only_at_first = frozenset({"initial_accumulator_value"})
    for_small_networks = {"lr": 0.03}
    checks = {
        "lr_decay": _checks.non_negative,
        "weight_decay": _checks.non_negative,
        "initial_accumulator_value": _checks.non_negative,
        "eps": _checks.non_negative,
        "eps_inside": _checks.flag,
    }

    def __init__(
        self,
        params: Any,
        lr: Rate = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        eps_inside: bool = False,
        **common: Unpack[Common],
    ) -> None:
        options = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "eps_inside": eps_inside,
        }
        super().__init__(params, options, **common)

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
