"""The look-ahead points of Nesterov's momentum."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._base import FusedOptimizer


@contextmanager
def lookahead(self: FusedOptimizer) -> Iterator[None]:
    """Put the look-ahead points into the parameters, in place, and the parameters back at the end, bit for bit.

    Gradients are to be taken inside; a step, outside. See `fusedstep.NAG`.

    Raises
    ------
    RuntimeError
        For a step inside.
    """
    values = {}
    for group in self.param_groups:
        for p in group["params"]:
            if "momentum_buffer" in self.state.get(p, {}):
                values[p] = p.detach() - float(group["lr"]) * group["momentum"] * self.state[p]["momentum_buffer"]
    with self._put("lookahead", values):
        yield
