"""AdamW."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._optimizer import Rate
from .adam import Adam

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._optimizer import Common


class AdamW(Adam):
    r"""Adam with decoupled weight decay: the decay is not divided by the second moment.

    ::

        p = p * (1 - lr * weight_decay)
        p = Adam's step without decay

    Parameters
    ----------
    params : list of arrays, {name: array}, or list of groups
        Updated in place; see `Optimizer`.
    lr : float or function of the step
        Learning rate.
    betas, eps, amsgrad, eps_inside, eps_hat
        See `Adam`.
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
    Loshchilov and Hutter (2019). Same as ``torch.optim.AdamW``.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.AdamW([w], lr=0.1, weight_decay=0.1)
    >>> _ = opt.step([2 * w])
    >>> w.round(6)
    array([ 0.89, -1.88])
    """

    for_small_networks = {"lr": 3e-3, "weight_decay": 0.3}

    def __init__(
        self,
        params: Any,
        lr: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        eps_inside: bool = False,
        eps_hat: bool = False,
        **common: Unpack[Common],
    ) -> None:
        common.setdefault("decay", "decoupled")
        eps_options = {"eps_inside": eps_inside, "eps_hat": eps_hat}
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, **eps_options, **common)
