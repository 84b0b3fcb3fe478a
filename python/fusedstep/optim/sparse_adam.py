"""Adam that updates only the rows with a gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._base import checks
from .._base.arrays import Array
from ._optimizer import Optimizer
from ._options import Option
from .adam import Adam


def _as_eps_hat(name: str, group: Mapping[str, Any]) -> dict[str, Any]:
    return {"eps_hat": group[name]}


class SparseAdam(Optimizer):
    r"""Adam for embeddings. A step updates only the rows that have a gradient, and the moments of these rows.

    ::

        for the rows of the gradient:
            m = m + (1 - beta1) * (g - m)
            v = beta2 * v + (1 - beta2) * g^2
            p = p - lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps)

    p is the parameter, g its gradient and t the number of the step, from 1. t is the same for all rows. Row i of the
    parameter is p[i]. Rows without a gradient do not change, and their moments m and v do not change. `Adam` with
    gradients of 0 for these rows would change them.

    Notes
    -----
    Kingma and Ba (2015), section 2, applied to rows. Same as ``torch.optim.SparseAdam``. A gradient is an array, which
    contains all rows, or a `Rows` object, which contains only some rows. States: ``exp_avg`` (m), ``exp_avg_sq`` (v).

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> table = np.zeros((4, 2))
    >>> opt = fs.SparseAdam([table], lr=0.1)
    >>> _ = opt.step([fs.Rows([3, 1, 3], np.ones((3, 2)))])
    >>> table[:, 0].round(6)
    array([ 0. , -0.1,  0. , -0.1])
    """

    rule = "adam"
    takes_rows = True
    for_small_networks = {"lr": 3e-3}

    lr = Option(0.001, checks.rate, "Learning rate.")
    betas = Option((0.9, 0.999), checks.betas, "beta1 and beta2, each at least 0 and below 1.")
    eps = Option(1e-08, checks.non_negative, "Keeps the denominator above 0.", in_kernel=_as_eps_hat)
    weight_decay = Option(0.0, checks.non_negative, "Strength of weight decay. It must be 0 if a gradient is `Rows`.")

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        return Adam.reference(p, g, state, t, lr, {**group, "eps_inside": False, "eps_hat": True})
