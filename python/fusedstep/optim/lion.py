"""Lion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._base import checks as _checks
from ._optimizer import Optimizer, Rate
from ._params import Array
from ._reference import sign

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._optimizer import Common


class Lion(Optimizer):
    r"""Lion: every element moves by lr, in the direction of an interpolated momentum.

    ::

        p = p * (1 - lr * weight_decay)
        p = p - lr * sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g

    Parameters
    ----------
    params : list of arrays, {name: array}, or list of groups
        Updated in place; see `Optimizer`.
    lr : float or function of the step
        Learning rate: a tenth to a third of what suits Adam.
    betas : (float, float)
        Weight of the momentum in the direction, and its decay; each at least 0 and below 1.
    weight_decay : float
        Strength of the decay.
    **common
        ``maximize``, ``l1``, ``decay`` ("decoupled" unless given), ``ema_decay``, ``num_threads``; see `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described; the message names it, the need and the value.

    Notes
    -----
    Chen et al., "Symbolic discovery of optimization algorithms" (2023), algorithm 2. torch has no Lion. An element
    whose direction is nan does not move (its momentum is nan from then on).

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
    checks = {"betas": _checks.betas, "weight_decay": _checks.non_negative}

    def __init__(
        self,
        params: Any,
        lr: Rate = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        common.setdefault("decay", "decoupled")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay}, **common)

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        beta1, beta2 = group["betas"]
        m = state["exp_avg"]
        direction = sign(c(beta1) * m + c(1.0 - beta1) * g)
        m[...] = c(beta2) * m + c(1.0 - beta2) * g
        return p - c(lr) * direction
