"""The network, the data and the training loop of the examples.

An example runs in one or several processes, the ranks. Each rank takes its part of every batch.
"""

from __future__ import annotations

import os
import sys
import zlib

import torch
import torch.distributed as dist

RANK, SIZE = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))  # without torchrun: one process


def network() -> torch.nn.Module:
    """Return the same network on every rank."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(17, 64), torch.nn.Tanh(), torch.nn.Linear(64, 6))


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return this rank's part of a batch."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(64, 17, generator=generator)
    return x[RANK::SIZE], torch.sin(x[RANK::SIZE].cumsum(1)[:, :6])


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int = 100) -> list[float]:
    """Train. Return the loss of every step: the mean of the losses of all ranks."""
    losses = []
    for step in range(steps):
        x, y = batch(step)
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        total = loss.detach().double()
        if SIZE > 1:
            dist.all_reduce(total)
        losses.append(float(total) / SIZE)
    return losses


def report(model: torch.nn.Module, losses: list[float]) -> None:
    """Print the first and the last loss, and a checksum of all parameters.

    If the environment variable LOSSES is the path of a file, rank 0 writes all losses into this file.
    """
    whole = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in model.parameters()]
    digest = zlib.crc32(b"".join(p.detach().numpy().tobytes() for p in whole))
    text = f"rank {RANK} of {SIZE}: loss {losses[0]:.4f}, in the end {losses[-1]:.4f}; parameters {digest:08x}\n"
    sys.stdout.write(text)  # in one call, because other ranks write too
    if RANK == 0 and "LOSSES" in os.environ:
        with open(os.environ["LOSSES"], "w", encoding="utf-8") as file:
            file.writelines(f"{loss!r}\n" for loss in losses)
