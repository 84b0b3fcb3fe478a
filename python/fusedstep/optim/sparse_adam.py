"""Adam for rows."""

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
    r"""Adam that steps only the rows that have a gradient, and the moments of these rows, for embeddings.

    ::

        for the rows of the gradient:
            m = m + (1 - beta1) * (g - m)
            v = beta2 * v + (1 - beta2) * g^2
            p = p - lr * sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + eps)

    The moments of other rows do not decay, so the result is not that of Adam with zeros for them. t counts the steps of
    the whole parameter.

    Notes
    -----
    Kingma and Ba (2015), section 2, on rows. Same as ``torch.optim.SparseAdam``. A gradient may also
    be an array, which is a gradient of all rows. See `Rows`. States: ``exp_avg`` (m), ``exp_avg_sq`` (v).

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
    betas = Option(
        (0.9, 0.999), checks.betas, "Decay of the first and of the second moment, each at least 0 and below 1."
    )
    eps = Option(1e-08, checks.non_negative, "Keeps the denominator from zero.", in_kernel=_as_eps_hat)
    weight_decay = Option(0.0, checks.non_negative, "Strength of the L2 penalty (or another `decay`), for arrays.")

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        return Adam.reference(p, g, state, t, lr, {**group, "eps_inside": False, "eps_hat": True})
