"""The implementations that are timed. If a library can write into given memory, it is timed with and without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from .. import common
from ..report import OURS
from .cases import ALONE, COPY, TORCH, Case
from .copies import Copy, numpy_copy, parallel_copy, torch_copy
from .jax_peer import Jax
from .numpy_peer import NumPy
from .ours import Alone, Ours
from .runner import Job, Runner
from .torch_peer import Torch


@dataclass(frozen=True)
class Peer:
    """An implementation that is timed."""

    name: str
    build: Callable[[Job], Runner]
    out: bool = True  # True if the result is written into given memory, False if the call allocates memory
    needs: tuple[str, ...] = ()  # modules that must be installed
    level: str = ""  # instruction set of fusedstep; empty for other libraries

    def missing(self) -> list[str]:
        return common.missing(self.needs)


COPIES = (
    Peer(f"{COPY}: np.copyto", partial(Copy, make=numpy_copy)),
    Peer(f"{COPY}: np.copyto in threads", partial(Copy, make=parallel_copy)),
    Peer(f"{COPY}: torch copy_", partial(Copy, make=torch_copy), needs=("torch",)),
)
PEERS = (
    Peer(TORCH, Torch, False, ("torch",)),
    Peer(TORCH, partial(Torch, out=True), True, ("torch",)),
    Peer("jax", Jax, False, ("jax",)),
    Peer("jax, donated", partial(Jax, out=True), True, ("jax",)),
    Peer("jax rbg, donated", partial(Jax, out=True, impl="rbg"), True, ("jax",)),
    Peer("numpy", NumPy, False),
    Peer("numpy", partial(NumPy, out=True), True),
)


def ours(level: str, case: Case) -> list[Peer]:
    name = f"{OURS} {level}"
    lines = [Peer(name, partial(Ours, out=True), True, level=level), Peer(name, Ours, False, level=level)]
    if case.residual:
        lines.append(Peer(f"{name}, {ALONE}", Alone, True, level=level))
    return lines


def line_up(case: Case, levels: Sequence[str], others: Sequence[Peer] = PEERS) -> list[Peer]:
    """Return all implementations in the order of the table. JAX with the random generator rbg is only for dropout."""
    mine = [peer for level in levels for peer in ours(level, case)]
    return [*COPIES, *mine, *(p for p in others if case.op == "dropout" or not p.name.startswith("jax rbg"))]
