"""Functions for tests/test_distributed_hooks.py. Each rank (process) of a `World` runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel

import fusedstep.torch as ft

from .matrix import batch, network, values_of


def in_backward(model: Any, **options: Any) -> Any:
    """Return an optimizer that takes its steps in the backward pass."""
    optimizer = ft.AdamW(model.parameters(), lr=0.01, **options)
    ft.step_in_backward(optimizer)
    return optimizer


def offloaded(model: Any, **options: Any) -> Any:
    return ft.OffloadedOptimizer(ft.AdamW, model, lr=0.01, **options)


MAKERS: dict[str, Callable[..., Any]] = {"step_in_backward": in_backward, "OffloadedOptimizer": offloaded}


def loss_of(model: Any, x: Any, y: Any) -> Any:
    return ((model(x) - y) ** 2).mean()


def require_equal(model: Any, alone: Any) -> None:
    """Assert that the parameters of the two models differ by less than 1e-6. `alone` was trained in one process."""
    for a, b in zip(values_of(model, "DDP"), values_of(alone, ""), strict=True):
        assert np.abs(a - b).max() < 1e-6


def built(how: str, make: Callable[..., Any]) -> tuple[Any, Any]:
    """Return a model in DistributedDataParallel, and its optimizer.

    `how` is "wrapper first", "optimizer first", "from the inner module" (the optimizer is made from the module inside
    the wrapper), or "gradients in buckets" (the wrapper has ``gradient_as_bucket_view=True``).
    """
    model = network(torch)
    if how == "optimizer first":
        optimizer = make(model)
        return DistributedDataParallel(model), optimizer
    wrapped = DistributedDataParallel(model, gradient_as_bucket_view=how == "gradients in buckets")
    return wrapped, make(wrapped.module if how == "from the inner module" else wrapped)


def trained_after_the_reduction(rank: int, size: int, kind: str, how: str) -> list[bytes]:
    """Train on all ranks and in one process, and assert equal parameters. Return the bits of the parameters."""
    alone = network(torch)
    model, optimizer = built(how, MAKERS[kind])
    one = MAKERS[kind](alone)
    for step in range(3):
        x, y = batch(torch, step)
        for of, stepped, part in ((model, optimizer, slice(rank, None, size)), (alone, one, slice(None))):
            if of is alone:
                with_no_ranks(of, stepped, x, y)
                continue
            loss_of(of, x[part], y[part]).backward()
            stepped.step()
            stepped.zero_grad()
    require_equal(model, alone)
    return [v.tobytes() for v in values_of(model, "DDP")]


def with_no_ranks(model: Any, optimizer: Any, x: Any, y: Any) -> None:
    """Take one step on a whole batch, in this process only."""
    loss_of(model, x, y).backward()
    optimizer.step()
    optimizer.zero_grad()


def adds_up_under_no_sync(rank: int, size: int, kind: str) -> list[bytes]:
    """Train on all ranks with two backward passes for each step. The first pass is under `no_sync`.

    Assert that the parameters equal those of a training in one process. Return the bits of the parameters.
    """
    alone = network(torch)
    model, optimizer = built("wrapper first", MAKERS[kind])
    one = ft.AdamW(alone.parameters(), lr=0.01)
    for step in range(3):
        x, y = batch(torch, step)
        mine, its = x[rank::size], y[rank::size]
        before = values_of(model, "DDP")
        with model.no_sync():
            (loss_of(model, mine[:2], its[:2]) / 2).backward()
        after = values_of(model, "DDP")
        same = (a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True))
        assert all(same), "a backward pass under no_sync must not change parameters"
        (loss_of(model, mine[2:], its[2:]) / 2).backward()
        optimizer.step()
        optimizer.zero_grad()
        with_no_ranks(alone, one, x, y)
    require_equal(model, alone)
    return [v.tobytes() for v in values_of(model, "DDP")]


def interrupted_pass(rank: int, size: int) -> None:
    """Raise an error in a hook of a backward pass. Assert that the next backward pass changes all parameters."""
    model = network(torch)
    optimizer = in_backward(model)
    x, y = batch(torch, 0)

    def fail(_: Any) -> None:
        raise ArithmeticError("on purpose")

    handle = model[0].weight.register_post_accumulate_grad_hook(fail)
    with pytest.raises(ArithmeticError):
        loss_of(model, x, y).backward()
    handle.remove()
    optimizer.zero_grad()
    before = values_of(model, "")
    loss_of(model, x, y).backward()
    assert all(a.tobytes() != b.tobytes() for a, b in zip(before, values_of(model, ""), strict=True))


def fsdp1(**options: Any) -> Any:
    return FullyShardedDataParallel(network(torch), device_id=torch.device("cpu"), **options)


def refused_under_fsdp1(rank: int, size: int) -> None:
    """Assert that `step_in_backward` and OffloadedOptimizer refuse a model under FSDP1.

    If the model is wrapped after its OffloadedOptimizer is made, the step must be refused. Also assert that `clip_norm`
    and `skip_nonfinite` need `process_group` under FSDP1.
    """
    for use_orig_params in (False, True):
        model = fsdp1(use_orig_params=use_orig_params)
        for make in MAKERS.values():
            with pytest.raises(ValueError, match=r"must not be wrapped by FullyShardedDataParallel \(FSDP1\)"):
                make(model)
        loss_of(model, *batch(torch, 0)).backward()
        for options in ({"clip_norm": 1.0}, {"skip_nonfinite": True}):
            optimizer = ft.AdamW(model.parameters(), lr=0.01, **options)
            before = [p.detach().clone() for p in model.parameters()]
            with pytest.raises(
                ValueError, match="clip_norm and skip_nonfinite need process_group, because under FullySharded"
            ):
                optimizer.step()
            assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
            optimizer.clip_norm, optimizer.skip_nonfinite = None, False
            optimizer.step()
            optimizer.clip_norm = 1.0  # also refused if it is set after the first step
            with pytest.raises(ValueError, match="clip_norm and skip_nonfinite need process_group"):
                optimizer.step()
    inner = network(torch)
    optimizer = offloaded(inner)
    model = FullyShardedDataParallel(inner, use_orig_params=True, device_id=torch.device("cpu"))
    loss_of(model, *batch(torch, 0)).backward()
    with pytest.raises(ValueError, match=r"OffloadedAdamW\.step: the model must not be wrapped"):
        optimizer.step()


def refused_if_ranks_would_differ(rank: int, size: int) -> None:
    """Assert that `step_in_backward` refuses sharded gradients with `skip_nonfinite`.

    Also assert that `step_in_backward` and OffloadedOptimizer refuse ZeroRedundancyOptimizer.
    """
    from torch.distributed.optim import ZeroRedundancyOptimizer  # imported here, because the import warns

    from .shards import Shard, init_device_mesh, numbers, parameter

    p = parameter(numbers((4, 2), 1), init_device_mesh("cpu", (size,)), [Shard(0)])
    with pytest.raises(ValueError, match="skip_nonfinite must be False if each rank has a part of the gradients"):
        ft.step_in_backward(ft.AdamW([p], lr=0.1, skip_nonfinite=True))
    model = DistributedDataParallel(network(torch))
    zero = ZeroRedundancyOptimizer(model.parameters(), ft.AdamW, lr=0.1)
    with pytest.raises(ValueError, match="must not be the local optimizer of a ZeroRedundancyOptimizer"):
        ft.step_in_backward(zero.optim)
    with pytest.raises(TypeError, match="optimizer_class must keep all states in this process; got ZeroRedundancy"):
        ft.OffloadedOptimizer(ZeroRedundancyOptimizer, model, ft.AdamW)


def zero_with_fewer_parameters_than_ranks(rank: int, size: int) -> list[float | None]:
    """Assert that `grad_norm` is the norm of all gradients on each rank, even if the rank has no parameter."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Linear(3, 2, bias=False))
    zero = ZeroRedundancyOptimizer(model.parameters(), ft.AdamW, lr=0.1, clip_norm=0.1)
    model(torch.ones(1, 3) + rank).sum().backward()
    exact = float(next(model.parameters()).grad.double().norm())
    zero.step()
    assert zero.optim.grad_norm == pytest.approx(exact, rel=1e-14)
    dist.barrier()
    return [zero.optim.grad_norm]
