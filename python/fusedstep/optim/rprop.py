"""Rprop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base import checks
from .._base.arrays import Array
from ._optimizer import Optimizer
from ._options import Option
from ._reference import sign


class Rprop(Optimizer):
    r"""Rprop: each element has its own step size, which depends only on the signs of the gradients.

    ::

        step_size = step_size * etas[1]                               (if g * prev > 0)
        step_size = step_size * etas[0]                               (if g * prev < 0)
        step_size = min(max(step_size, step_sizes[0]), step_sizes[1])
        prev = 0  if g * prev < 0  else  g
        p = p - step_size * sign(prev)

    p is the parameter and g its gradient. Before the first step, step_size is lr and prev is 0. A step size grows if
    the sign of the gradient stays the same, and shrinks if the sign changes. With mini-batches, the signs change at
    random. So compute each gradient over the whole data set.

    Notes
    -----
    Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning: the RPROP algorithm" (1993).
    Same as ``torch.optim.Rprop``. States: ``prev``, ``step_size``.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> w = np.array([1.0, -2.0])
    >>> opt = fs.Rprop([w], lr=0.5)
    >>> for _ in range(2):
    ...     _ = opt.step([2 * w])
    >>> w
    array([-0.1, -0.9])
    """

    rule = "rprop"

    lr = Option(
        0.01,
        checks.rate,
        "Initial step_size of every element. After the first step, a change of lr has no effect.",
    )
    etas = Option(
        (0.5, 1.2),
        checks.factors_around_one,
        "Factors of the step size: etas[0] if the sign of g changes, etas[1] if it stays the same.",
    )
    step_sizes = Option((1e-06, 50.0), checks.bounds, "The smallest and the largest step_size.")
    weight_decay = Option(0.0, checks.non_negative, "Strength of weight decay. `decay` sets its form, by default L2.")

    @staticmethod
    def reference(p: Array, g: Array, state: dict[str, Array], t: int, lr: float, group: Mapping[str, Any]) -> Array:
        """Return the new parameters; see `Optimizer.reference`."""
        c = p.dtype.type
        shrinking, growing = (c(eta) for eta in group["etas"])
        smallest, largest = (c(size) for size in group["step_sizes"])
        prev, step_size = state["prev"], state["step_size"]
        turn = g * prev
        factor = np.where(turn > 0, growing, np.where(turn < 0, shrinking, np.where(turn == 0, c(1), turn)))
        wanted = (np.full_like(p, lr) if t == 1 else step_size) * factor
        enough = np.where(wanted < smallest, smallest, wanted)
        step_size[...] = np.where(enough > largest, largest, enough)
        prev[...] = np.where(turn < 0, c(0), g)
        return p - step_size * sign(prev)
