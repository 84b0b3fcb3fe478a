"""Values that temporarily replace the parameters: look-ahead points, and averages of schedule-free optimizers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ._options import completed

if TYPE_CHECKING:
    from ._base import FusedOptimizer


@contextmanager
def lookahead(self: FusedOptimizer) -> Iterator[None]:
    """Return a context in which the parameters have the values of their look-ahead points.

    The look-ahead point of a parameter p is ``p - lr * momentum * momentum_buffer``; see `fusedstep.NAG`. Compute the
    gradients inside the context, and take the step outside. The parameters change in place. At the end of the context,
    their old values are put back, bit for bit.

    Raises
    ------
    RuntimeError
        If a step is taken inside the context.
    """
    values = {}
    for group in self.param_groups:
        options = completed(self.kernel, group)
        for p in options["params"]:
            buffer = self.state.get(p, {}).get("momentum_buffer")
            if buffer is not None:
                values[p] = p.detach() - float(options["lr"]) * options["momentum"] * buffer
    with self._put("lookahead", values):
        yield


def own_averages(self: FusedOptimizer) -> dict[torch.Tensor, torch.Tensor]:
    """Return the average x of each parameter y that has been stepped by a schedule-free optimizer.

    The optimizer keeps ``y = share * x + (1 - share) * z``. So ``x = y + (1 - 1 / share) * (z - y)``. z is the state
    ``"z"`` of the parameter. share is the option `momentum` of `fusedstep.SGDScheduleFree`, or beta1 of
    `fusedstep.AdamWScheduleFree`.
    """
    values = {}
    for group in self.param_groups:
        rest = 1.0 - 1.0 / self.kernel.share_of_average(completed(self.kernel, group))  # type: ignore[attr-defined]
        for p in group["params"]:
            entry = self.state.get(p, {})
            if "z" in entry and entry.get("step", 0) > 0:
                wide = torch.promote_types(p.dtype, torch.float32)
                y = p.detach().to(wide)
                values[p] = y + rest * (entry["z"].to(wide) - y)
    return values
