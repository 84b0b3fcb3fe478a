"""The implementations of optimizer steps, from fusedstep and other libraries.

An implementation is built for one case. All implementations get the same numbers, and each has its own arrays. If a
library lacks an optimizer or an option, its implementation raises `Unavailable`. The message becomes a line of the
printed table.
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
    """An implementation that is timed."""

    name: str
    build: Callable[[Job], NumPyRunner]
    needs: tuple[str, ...] = ()  # modules that must be installed
    temporaries: int = 0  # temporary memory of a step / memory of the parameters
    note: str = ""
    threads: int | None = None  # number of threads; if None, the run's number is used
    compiles: bool = False  # True if the library compiles before the first step; the results show this time

    def missing(self) -> list[str]:
        return common.missing(self.needs)


OURS, ROOFLINE = "fusedstep", "roofline"
PEERS = (  # in the order of importance; if the memory is too small for all, the last ones are left out
    Peer(OURS, Ours),
    Peer(ROOFLINE, Roofline, note="a kernel with the memory traffic of the step"),
    Peer("torch fused", partial(Torch, form="fused"), ("torch",)),
    Peer(
        "jax+optax",
        Jax,
        ("jax", "optax"),
        note="compiled, with donated arrays; the full step does not zero the gradients",
        compiles=True,
    ),
    Peer("numba", Numba, ("numba",), note="one parallel kernel over all tensors", compiles=True),
    Peer(SLOW[0], Compiled, ("torch",), note="torch.compile(optimizer.step), learning rate in a tensor", compiles=True),
    Peer(
        SLOW[1],
        DeepSpeed,
        ("torch", "deepspeed"),
        note="DeepSpeedCPUAdam; its kernel is compiled at the first use on a machine, and stored",
        compiles=True,
    ),
    Peer(SLOW[2], partial(EightBit, package="bitsandbytes.optim"), ("torch", "bitsandbytes"), temporaries=4),
    Peer(SLOW[3], partial(EightBit, package="torchao.optim"), ("torch", "torchao"), temporaries=4, compiles=True),
    Peer("torch foreach", partial(Torch, form="foreach"), ("torch",), temporaries=3),
    Peer("torch default", Torch, ("torch",), temporaries=2),
    Peer("numpy", NumPy, temporaries=3, note="plain NumPy code on one thread"),
)


def line_up(case: Case, peers: tuple[Peer, ...]) -> tuple[Peer, ...]:
    """Return the implementations of a case. If the case has several numbers of threads, repeat them for each number."""
    chosen = tuple(peer for peer in peers if (peer.name in case.peers if case.peers else peer.name not in SLOW))
    if not case.threads:
        return chosen
    return tuple(replace(peer, name=f"{peer.name}{AT}{n}", threads=n) for n in case.threads for peer in chosen)


AT = " @"  # the text between the name of an implementation and its number of threads
