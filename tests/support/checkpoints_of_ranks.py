"""Functions for tests/test_distributed_checkpoints.py. Each rank (process) of a `World` runs them."""

from __future__ import annotations

import os
import signal
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import distribute_tensor

import fusedstep.torch as ft

from .matrix import NEAREST, RULES, Feature, batch, network
from .shards import numbers, raw

OPTIONS: dict[str, Any] = {"clip_norm": 0.5, "ema_decay": 0.9}


def sharded(rule: str) -> tuple[Any, Any]:
    """Return a model whose parameters are divided among the ranks, and an optimizer of the class `rule`."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    model = fully_shard(network(torch), mesh=mesh)
    return model, getattr(ft, rule)(model.parameters(), **RULES[rule], **OPTIONS)


def train(rank: int, size: int, model: Any, optimizer: Any, first: int, last: int) -> list[float]:
    """Take the steps from `first` to ``last - 1``. Return the loss of each step, which is the mean over all ranks."""
    losses = []
    for step in range(first, last):
        x, y = batch(torch, step)
        loss = ((model(x[rank::size]) - y[rank::size]) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total = loss.detach().double()
        dist.all_reduce(total)
        losses.append(float(total) / size)
    return losses


def save(model: Any, optimizer: Any, folder: str) -> None:
    of_model, of_optimizer = get_state_dict(model, optimizer)
    state = {"model": of_model, "optimizer": of_optimizer}
    dcp.save(state, storage_writer=ft.CheckpointWriter(folder))


def load(model: Any, optimizer: Any, folder: str) -> None:
    of_model, of_optimizer = get_state_dict(model, optimizer)
    dcp.load({"model": of_model, "optimizer": of_optimizer}, checkpoint_id=folder)
    set_state_dict(model, optimizer, model_state_dict=of_model, optim_state_dict=of_optimizer)


def begin(rank: int, size: int, rule: str, folder: str, steps: int, more: int) -> list[float]:
    """Train for `steps` steps, save, and train for `more` steps. Return the losses of all steps."""
    model, optimizer = sharded(rule)
    losses = train(rank, size, model, optimizer, 0, steps)
    save(model, optimizer, folder)
    return losses + train(rank, size, model, optimizer, steps, steps + more)


def go_on(rank: int, size: int, rule: str, source: str, target: str, first: int, steps: int) -> list[float]:
    """Load the checkpoint in `source`, train for `steps` steps, and save to `target`. Return the losses of the steps.

    `first` is the number of steps before the checkpoint. Another number of ranks may have saved the checkpoint.
    """
    model, optimizer = sharded(rule)
    load(model, optimizer, source)
    losses = train(rank, size, model, optimizer, first, first + steps)
    save(model, optimizer, target)
    return losses


WIDTHS: dict[str, Feature] = {
    "bfloat16 states": Feature({"master_weights": True, "state_dtype": "bfloat16", **NEAREST}, dtype="bfloat16"),
    "8-bit states": Feature({"master_weights": True, "state_dtype": "uint8"}, dtype="bfloat16", inputs=256),
}


def step_and_save(rank: int, size: int, width: str, source: str, target: str, seeds: list[int]) -> dict[str, bytes]:
    """Take a step for each seed, and save to `target`. Before the first step, load from `source`, unless this is "".

    The gradients depend on the seeds, and not on the number of ranks.

    Returns
    -------
    dict
        The bits of all parameters and states except checksums, gathered from all ranks.
    """
    feature, mesh = WIDTHS[width], init_device_mesh("cpu", (dist.get_world_size(),))
    model = fully_shard(network(torch, feature), mesh=mesh)
    optimizer = ft.AdamW(model.parameters(), lr=0.01, seed=5, **feature.options)
    if source:
        load(model, optimizer, source)
    for seed in seeds:
        for k, p in enumerate(model.parameters()):
            p.grad = distribute_tensor(numbers(tuple(p.shape), 10 * seed + k).bfloat16(), p.device_mesh, p.placements)
        optimizer.step()
        optimizer.zero_grad()
    save(model, optimizer, target)
    entries = {f"{name}.p": p for name, p in model.named_parameters()}
    for name, p in model.named_parameters():
        entries |= {f"{name}.{state}": v for state, v in optimizer.state[p].items() if state != "low_sum"}
    return {name: raw(value) for name, value in entries.items()}


def save_over_and_die(rank: int, size: int, rule: str, folder: str) -> None:
    """Train, and save into a folder that has a checkpoint already. Rank 1 is killed while it writes its file."""
    model, optimizer = sharded(rule)
    train(rank, size, model, optimizer, 0, 2)
    if rank == 1:
        _die_in_the_middle_of_writing()
    save(model, optimizer, folder)


def _die_in_the_middle_of_writing() -> None:
    """Replace torch's function that writes an item of a checkpoint: kill this process after the first item."""
    from torch.distributed.checkpoint import filesystem

    write = filesystem._write_item

    def half(*arguments: Any, **options: Any) -> Any:
        write(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    filesystem._write_item = half
