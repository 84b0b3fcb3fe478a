"""The trainers: one training loop, with the optimizers and layers of torch or of fusedstep."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from fusedstep._bench import common

from .cases import CLIP_NORM, LR, Case, Network

P = 0.1  # probability of dropout


@dataclass(frozen=True)
class Peer:
    """An implementation that is timed. Each implementation has a line in the table of a case."""

    name: str
    optimizer: str = "torch.optim"  # the module that contains Adam
    layers: str = "torch.nn"
    form: Mapping[str, bool] = field(default_factory=dict)  # fused=True or foreach=True, for torch's optimizer
    relu: bool = False  # True if batch norm applies the ReLU and adds the residual
    note: str = ""

    @property
    def is_ours(self) -> bool:
        return self.optimizer == OURS_MODULE

    def suits(self, network: Network) -> bool:
        """Return True if this implementation is timed for this network.

        The variant with torch's layers is timed only if the network has dropout or batch norm. Without these layers, it
        would not differ from `OURS`. The variant with the fused ReLU is timed only if `network.has_relu` is True.
        """
        only_layers_differ = self.is_ours and self.layers != OURS_MODULE
        return network.has_relu if self.relu else network.has_layers or not only_layers_differ

    def missing(self) -> list[str]:
        return common.missing(["torch"])


OURS, OURS_MODULE = "fusedstep", "fusedstep.torch"
DEFAULT = Peer("torch default")
PEERS = (
    Peer(OURS, OURS_MODULE, OURS_MODULE, note="the loop differs from torch's in imports and clip_norm"),
    Peer(f"{OURS}, fused ReLU", OURS_MODULE, OURS_MODULE, relu=True, note="batch norm applies the ReLU"),
    Peer(f"{OURS}, torch's layers", OURS_MODULE, note="only the optimizer is from fusedstep"),
    Peer("torch fused", form={"fused": True}),
    Peer("torch foreach", form={"foreach": True}),
    DEFAULT,
)


class Trainer:
    """One implementation of one case.

    If gradients are clipped, fusedstep's optimizer clips them in its step. For torch's optimizers, the loop clips them.
    """

    def __init__(self, case: Case, peer: Peer, p: float = P) -> None:
        self.torch: Any = importlib.import_module("torch")
        networks: Any = importlib.import_module("bench.torch.networks")
        self.task = networks.TASKS[case.network.name](importlib.import_module(peer.layers), p, peer.relu)
        self.parameters = list(self.task.model.parameters())
        options = {"clip_norm": CLIP_NORM} if peer.is_ours and case.network.clipped else {}
        adam = importlib.import_module(peer.optimizer).Adam
        self.optimizer = adam(self.parameters, lr=LR, **peer.form, **options)
        self.clips = case.network.clipped and not peer.is_ours
        self.batches = cycle(self.task.batches)
        whole = case.part == "step"
        self.step: Callable[[], object] = self.train if whole else self.update
        self.refill: Callable[[], None] | None = None if whole else self.gradients

    def gradients(self) -> None:
        self.optimizer.zero_grad()
        self.loss = self.task.loss(*next(self.batches))
        self.loss.backward()

    def update(self) -> None:
        if self.clips:
            self.torch.nn.utils.clip_grad_norm_(self.parameters, CLIP_NORM, foreach=True)
        self.optimizer.step()

    def train(self) -> None:
        self.gradients()
        self.update()

    def losses(self, steps: int) -> list[float]:
        values = []
        for _ in range(steps):
            self.train()
            values.append(self.loss.item())
        return values

    @property
    def elements(self) -> int:
        return sum(p.numel() for p in self.parameters)

    def snapshot(self) -> list[Any]:
        return [p.detach().clone() for p in self.parameters]
