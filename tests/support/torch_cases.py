"""Helpers for the tests of fusedstep.torch, which compare our optimizers with torch's on small networks."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import fusedstep as fs

from .oracle import CLASSES, TORCHS, Options, variants

NAMES = [c.__name__ for c in CLASSES]
SHARED = [c.__name__ for c in CLASSES if c in TORCHS]

every_optimizer = pytest.mark.parametrize("name", NAMES)
every_shared_optimizer = pytest.mark.parametrize("name", SHARED)


def ours(name: str) -> Any:
    """Return fusedstep's class with this name."""
    import fusedstep.torch

    return getattr(fusedstep.torch, name)


def theirs(name: str) -> Any:
    """Return torch's class with this name."""
    import torch

    return getattr(torch.optim, name)


def shared_options(name: str) -> list[Options]:
    """Return the sets of options in `variants` that torch's optimizer also accepts."""
    known = inspect.signature(theirs(name)).parameters
    return [o for o in variants(fs.optim.registry[name]) if o.keys() <= known.keys()]


def torch_options(name: str) -> list[Options]:
    """Return sets of options. Each option that changes the result of torch's optimizer is in at least one set."""
    import torch

    known = inspect.signature(theirs(name)).parameters
    decays = [{"weight_decay": 0.03, "decoupled_weight_decay": True}] if "decoupled_weight_decay" in known else []
    decay = {"weight_decay": 0.03} if "weight_decay" in known else {}
    together = {"lr": torch.tensor(0.02, dtype=torch.float64), "maximize": True, **decay}
    return [*shared_options(name), *[decay][: len(decay)], together, *decays]


def network(dtype: Any = None, seed: int = 0) -> Any:
    """Return a small network with parameters of several shapes."""
    import torch

    torch.manual_seed(seed)
    layers = [torch.nn.Linear(7, 16), torch.nn.Tanh(), torch.nn.Linear(16, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)]
    return torch.nn.Sequential(*layers).to(dtype or torch.float32)


def batches(n: int, dtype: Any = None, seed: int = 1) -> list[tuple[Any, Any]]:
    """Return n batches (inputs, targets) of a regression."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    found = []
    for _ in range(n):
        x = torch.randn(32, 7, generator=generator, dtype=torch.float64)
        found.append((x.to(dtype or torch.float32), (x @ w).sin().to(dtype or torch.float32)))
    return found


def backward(model: Any, batch: tuple[Any, Any], sign: float = 1.0) -> Any:
    """Compute the gradients of sign * loss, and return the loss."""
    loss = ((model(batch[0]) - batch[1]) ** 2).mean()
    (sign * loss).backward()
    return loss


def train(model: Any, opt: Any, data: list[tuple[Any, Any]], after: Callable[[], None] | None = None) -> list[float]:
    """Take a step for each batch, and return the losses. With maximize=True, the negative loss is maximized.

    `after` is called after each step.
    """
    losses = []
    sign = -1.0 if opt.param_groups[0].get("maximize") else 1.0
    for batch in data:
        opt.zero_grad()
        losses.append(backward(model, batch, sign).item())
        opt.step()
        if after:
            after()
    return losses


def pair(name: str, options: Options, dtype: Any = None, **more: Any) -> tuple[Any, Any, Any, Any]:
    """Return (network, our optimizer for it, copy of the network, torch's optimizer for the copy).

    Only our optimizer gets the options `more`.
    """
    mine = network(dtype)
    other = copy.deepcopy(mine)
    return mine, ours(name)(mine.parameters(), **options, **more), other, theirs(name)(other.parameters(), **options)
