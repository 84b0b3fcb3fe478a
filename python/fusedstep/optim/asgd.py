"""Averaged gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base import checks
from .._base.arrays import Array
from ._optimizer import Optimizer
from ._options import Option
from ._reference import real_power, scalar


class ASGD(Optimizer):
    r"""Averaged gradient descent: a falling learning rate eta, and the mean of the parameters from step t0 + 2 on.

    ::

        eta = lr / (1 + lambd * lr * (t - 1))^alpha
        p = p * (1 - lambd * eta) - eta * g
        ax = ax + (p - ax) / max(1, t - 1 - t0)              (so ax = p if t <= t0 + 2)

    p is the parameter, g its gradient and t the number of the step, from 1. The formula of eta uses the lr of the
    previous step. In step 1, the formula uses the lr of step 1. From step t0 + 2 on, ax is the mean of the values that
    p has had since that step.

    Notes
    -----
    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992). Same as ``torch.optim.ASGD``,
    except that lambd, alpha and t0 must be at least 0. The method `averaged` does not use ax. It uses the averages
    that the option `ema_decay` adds. States: ``ax``, ``eta``, and ``mu``, which is the factor
    1 / max(1, t - 1 - t0). After each step, ``eta`` and ``mu`` already have the values for the next step, rounded to
    float32 as in torch.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.ASGD([w], lr=0.25, lambd=0.0, t0=0.0)
    >>> for _ in range(2):
    ...     _ = opt.step([2 * w])
    >>> w
    array([ 0.25, -0.5 ])
    """

    rule = "asgd"
    for_small_networks = {"lr": 0.1}

    lr = Option(0.01, checks.rate, "Learning rate.")
    lambd = Option(0.0001, checks.non_negative, "Decay of the parameters. It also decides how fast eta falls.")
    alpha = Option(0.75, checks.non_negative, "Exponent in the formula of eta.")
    t0 = Option(1000000.0, checks.non_negative, "The mean begins with step t0 + 2.")
    weight_decay = Option(0.0, checks.non_negative, "Strength of weight decay. `decay` sets its form, by default L2.")

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        lambd = group["lambd"]
        eta = float(np.float32(lr)) if t == 1 else scalar(state, "eta")
        mu = c(scalar(state, "mu"))
        state["eta"][...] = np.float32(lr / real_power(1.0 + lambd * lr * t, group["alpha"]))
        state["mu"][...] = np.float32(1.0 / max(1.0, t - group["t0"]))
        p = p * c(1.0 - lambd * eta) - c(eta) * g
        ax = state["ax"]
        ax[...] = p if mu == 1 else ax + mu * (p - ax)
        return p
