"""The lines of the table: each implementation, ours among them, in the strongest form that a user can choose.

A peer is built for one case. All peers get the same numbers, and each has memory of its own. A peer that lacks a rule
or an option raises `Unavailable`. Its message becomes a line of the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from .. import common
from .array_peers import Numba, NumPy, Ours, Roofline
from .cases import SLOW, Case
from .jax_peer import Jax
from .job import Job, NumPyRunner
from .torch_peers import Compiled, DeepSpeed, EightBit, Torch


@dataclass(frozen=True)
class Peer:
    """A line of the table: `temporaries` counts arrays of the tensor's size that a step allocates."""

    name: str
    build: Callable[[Job], NumPyRunner]
    needs: tuple[str, ...] = ()
    temporaries: int = 0
    note: str = ""
    threads: int | None = None  # if None, the number that all may use
    compiles: bool = False  # True if it compiles before its first step; the results show this time

    def missing(self) -> list[str]:
        return common.missing(self.needs)


OURS, ROOFLINE = "fusedstep", "roofline"
PEERS = (  # the most interesting first: if memory is short, the last ones are left out
    Peer(OURS, Ours),
    Peer(ROOFLINE, Roofline, note="the same streams in place, one add each"),
    Peer("torch fused", partial(Torch, form="fused"), ("torch",)),
    Peer(
        "jax+optax", Jax, ("jax", "optax"), note="compiled, donated; full step: gradients are not zeroed", compiles=True
    ),
    Peer("numba", Numba, ("numba",), note="one parallel kernel over all tensors", compiles=True),
    Peer(SLOW[0], Compiled, ("torch",), note="torch.compile(optimizer.step), learning rate in a tensor", compiles=True),
    Peer(
        SLOW[1],
        DeepSpeed,
        ("torch", "deepspeed"),
        note="DeepSpeedCPUAdam, whose kernel is compiled at the first use on a machine and kept",
        compiles=True,
    ),
    Peer(SLOW[2], partial(EightBit, package="bitsandbytes.optim"), ("torch", "bitsandbytes"), temporaries=4),
    Peer(SLOW[3], partial(EightBit, package="torchao.optim"), ("torch", "torchao"), temporaries=4, compiles=True),
    Peer("torch foreach", partial(Torch, form="foreach"), ("torch",), temporaries=3),
    Peer("torch default", Torch, ("torch",), temporaries=2),
    Peer("numpy", NumPy, temporaries=3, note="the floor; one thread"),
)


def line_up(case: Case, peers: tuple[Peer, ...]) -> tuple[Peer, ...]:
    """Return the implementations of a case, once for each number of threads if it varies."""
    chosen = tuple(peer for peer in peers if (peer.name in case.peers if case.peers else peer.name not in SLOW))
    if not case.threads:
        return chosen
    return tuple(replace(peer, name=f"{peer.name}{AT}{n}", threads=n) for n in case.threads for peer in chosen)


AT = " @"  # between the name of a peer and its number of threads
