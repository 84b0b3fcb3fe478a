"""Row-wise Adagrad."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._base import checks
from .._base.arrays import Array
from ._directions import Directed, by_rows
from ._options import Option


class RowwiseAdagrad(Directed):
    r"""Adagrad for large embeddings: it keeps one sum of squared gradients for each row, not for each element.

    ::

        for the rows of the gradient:
            sum = sum + mean(g^2 over the row)
            p   = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum) + eps)

    p is the parameter, g its gradient and t the number of the step, from 1. Row i of the parameter is p[i]. The state
    ``sum`` has one number for each row.

    Notes
    -----
    Naumov et al., "Deep learning recommendation model for personalization and recommendation systems" (2019). The code
    of this paper uses the formulas above for its embeddings. A gradient is an array, which contains all rows, or a
    `Rows` object, which contains only some rows. If each row has only one element, the formulas are those of `Adagrad`.
    Clipping and `grad_scale` change g before the formulas are computed. Weight decay and L1 are applied after the
    division by sqrt(sum) + eps. If weight decay, L1 or `ema_decay` is used, all gradients must be arrays. torch has no
    optimizer of this name. States: ``sum``.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> table = np.zeros((4, 2))
    >>> opt = fs.RowwiseAdagrad([table], lr=0.1)
    >>> _ = opt.step([fs.Rows([3, 1, 3], np.ones((3, 2)))])  # row 3 is given twice: its gradients are added
    >>> table[:, 0].round(6), opt.state[0]["sum"]
    (array([ 0. , -0.1,  0. , -0.1]), array([0., 1., 0., 4.]))
    """

    rule = "sgd"
    in_torch = False
    takes_rows = True
    for_small_networks = {"lr": 0.03}

    lr = Option(0.01, checks.rate, "Learning rate.")
    lr_decay = Option(0.0, checks.non_negative, "The learning rate of step t is lr / (1 + (t - 1) * lr_decay).")
    weight_decay = Option(0.0, checks.non_negative, "Strength of weight decay. It must be 0 if a gradient is `Rows`.")
    initial_accumulator_value = Option(0.0, checks.non_negative, "Initial value of `sum`.", begins_state=True)
    eps = Option(1e-10, checks.non_negative, "Keeps the denominator above 0.")

    @classmethod
    def _own_states(cls, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
        return {"sum": shape[:1]}

    @classmethod
    def _initial_state(cls, name: str, group: Mapping[str, Any]) -> float:
        return float(group["initial_accumulator_value"])

    @classmethod
    def _directed(
        cls, g: Array, state: Mapping[str, Array], t: int, group: Mapping[str, Any], dtype: str
    ) -> tuple[dict[str, Array], Array]:
        """Return the next sums, and the direction: the array that a step multiplies by lr and subtracts."""
        total, direction = by_rows(g, state["sum"], 1.0 / (1.0 + (t - 1) * group["lr_decay"]), group["eps"])
        return {"sum": total}, direction

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`. Here g is the direction that `_directed` returns."""
        return p - p.dtype.type(lr) * g
