"""Wrappers of torch.distributed and features of fusedstep. A test trains with each pair of a wrapper and a feature.

The test compares each training on several ranks (processes) with a training in one process. docs/make_distributed.py
writes the table in docs/distributed.md from this file. To test a new feature, add a line to FEATURES.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

STEPS, POISONED = 5, 2  # number of steps of a training; index of the step with an inf (only if `Feature.poisoned`)
RULES = {"SGD": {"lr": 0.05, "momentum": 0.9}, "AdamW": {"lr": 0.01}, "Lion": {"lr": 0.003}}


class Feature(NamedTuple):
    """A feature: the options of the optimizer, and how the optimizer is used."""

    options: dict[str, Any]
    how: str = "step"  # "step", "in backward" or "offloaded"
    poisoned: bool = False  # True if an inf is put into a gradient at one step
    averaged: bool = False  # True if the test also compares the averages of the parameters
    dtype: str = "float32"
    inputs: int = 7  # number of inputs of the network; with 8-bit states 256, because 256 elements share a factor


#: The features with `state_dtype` round to nearest. With stochastic rounding, the random bits would depend on the set
#: of parameters that a rank has.
NEAREST = {"rounding": "nearest"}
FEATURES = {
    "plain": Feature({}),
    "clip_norm": Feature({"clip_norm": 0.05}),
    "ema_decay": Feature({"ema_decay": 0.9}, averaged=True),
    "zero_grads": Feature({"zero_grads": True}),
    "skip_nonfinite": Feature({"skip_nonfinite": True}, poisoned=True),
    "master_weights": Feature({"master_weights": True}, dtype="bfloat16"),
    "state_dtype=bfloat16": Feature({"state_dtype": "bfloat16", **NEAREST}),
    "state_dtype=uint8": Feature({"state_dtype": "uint8", **NEAREST}, inputs=256),
    "step_in_backward": Feature({}, how="in backward"),
    "OffloadedOptimizer": Feature({}, how="offloaded"),
}
WRAPPERS = ("DDP", "FSDP1", "FSDP2", "ZeRO")

_HOOKS = (
    "both use hooks (functions that torch calls during the backward pass). torch calls these hooks before FSDP1 has "
    "summed the gradients of the ranks"
)
_SCALE = (
    "in an 8-bit state, 256 neighbouring elements share one factor, and FSDP1 may divide these elements between two "
    "ranks"
)
_LOCAL = (
    "inside ZeRO, the fusedstep optimizer of a rank updates only some of the parameters, but both features need an "
    "optimizer that updates all parameters"
)
#: (wrapper, feature) -> the reason why fusedstep refuses this pair.
REFUSED = {
    ("FSDP1", "step_in_backward"): _HOOKS,
    ("FSDP1", "OffloadedOptimizer"): _HOOKS,
    ("FSDP1", "state_dtype=uint8"): _SCALE,
    ("ZeRO", "step_in_backward"): _LOCAL,
    ("ZeRO", "OffloadedOptimizer"): _LOCAL,
}


def network(torch: Any, feature: Feature | None = None) -> Any:
    """Return a model whose parameters have 5 rows or 1 row, so that two ranks get unequal parts of each parameter."""
    torch.manual_seed(0)
    inputs, dtype = (feature.inputs, feature.dtype) if feature else (7, "float32")
    layers = torch.nn.Linear(inputs, 5, bias=inputs == 7), torch.nn.Tanh(), torch.nn.Linear(5, 1)
    return torch.nn.Sequential(*layers).to(getattr(torch, dtype))


def batch(torch: Any, step: int, feature: Feature | None = None) -> tuple[Any, Any]:
    """Return the inputs and the targets of a step, which are equal in every process."""
    generator = torch.Generator().manual_seed(100 + step)
    x = torch.randn(8, feature.inputs if feature else 7, generator=generator)
    y = (x * x).sum(1, keepdim=True)
    return (x, y) if feature is None else (x.to(getattr(torch, feature.dtype)), y.to(getattr(torch, feature.dtype)))


class Run(NamedTuple):
    """A model and its optimizer.

    With ZeRO, `ours` is fusedstep's optimizer inside `optimizer`. Otherwise, `ours` is `optimizer`.
    """

    model: Any
    optimizer: Any
    ours: Any


def build(wrapper: str, rule: str, feature: Feature) -> Run:
    """Wrap a model and make its optimizer. The wrapper "" leaves the model as it is, for one process."""
    import torch
    import torch.distributed as dist

    import fusedstep.torch as ft

    model = wrap(network(torch, feature), wrapper)
    kind, options = getattr(ft, rule), {**RULES[rule], **feature.options}
    if wrapper.startswith("FSDP1") and (feature.options.keys() & {"clip_norm", "skip_nonfinite"}):
        options["process_group"] = dist.group.WORLD
    if wrapper == "ZeRO":
        from torch.distributed.optim import ZeroRedundancyOptimizer

        if feature.how == "offloaded":
            ft.OffloadedOptimizer(ZeroRedundancyOptimizer, model, kind, **options)  # raises an error
        optimizer = ZeroRedundancyOptimizer(model.parameters(), kind, **options)
        ours = optimizer.optim
    elif feature.how == "offloaded":
        optimizer = ours = ft.OffloadedOptimizer(kind, model, **options)
    else:
        optimizer = ours = kind(model.parameters(), **options)
    if feature.how == "in backward":
        ft.step_in_backward(ours)
    return Run(model, optimizer, ours)


def wrap(model: Any, wrapper: str) -> Any:
    """Return the model in a wrapper of torch.distributed, or the model itself."""
    import torch

    if wrapper in ("DDP", "ZeRO"):
        return torch.nn.parallel.DistributedDataParallel(model)
    if wrapper in ("FSDP1", "FSDP1, flat"):
        from torch.distributed.fsdp import FullyShardedDataParallel

        return FullyShardedDataParallel(model, use_orig_params=wrapper == "FSDP1", device_id=torch.device("cpu"))
    if wrapper == "FSDP2 on a grid":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (2, torch.distributed.get_world_size() // 2), mesh_dim_names=("copies", "parts"))
        return fully_shard(model, mesh=mesh)
    if wrapper == "FSDP2":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        return fully_shard(model, mesh=init_device_mesh("cpu", (torch.distributed.get_world_size(),)))
    return model


def poison(run: Run, rank: int, wrapper: str) -> None:
    """Put an inf into one gradient. If the gradient is divided among the ranks, only the part of rank 0 gets an inf."""
    p = next(p for p in run.model.parameters() if p.grad is not None and p.numel())
    if rank == 0 or wrapper in ("", "DDP", "ZeRO"):
        local = getattr(p.grad, "_local_tensor", p.grad)
        local.detach().flatten()[0] = float("inf")


def spoil(run: Run) -> None:
    """Replace a gradient by an unsuitable one: a sparse gradient, or a local part of another shape if it is divided."""
    p = next(p for group in run.ours.param_groups for p in group["params"] if p.grad is not None and p.numel())
    local = getattr(p.grad, "_local_tensor", None)
    if local is None:
        p.grad = p.grad.to_sparse()
    else:
        p.grad._local_tensor = local.flatten()[:1]


def fail_together(rank: int, size: int, wrapper: str, rule: str) -> str:
    """Spoil a gradient on the last rank, and step on all ranks. Return the error message of this rank's step.

    If the step raises an error, assert that it has not changed this rank's parameters.
    """
    run = build(wrapper, rule, FEATURES["clip_norm"])
    import torch

    x, y = batch(torch, 0)
    ((run.model(x[rank::size]) - y[rank::size]) ** 2).mean().backward()
    if rank == size - 1:
        spoil(run)
    before = [getattr(p, "_local_tensor", p).detach().clone() for p in run.model.parameters()]
    try:
        run.optimizer.step()
    except (TypeError, ValueError, RuntimeError) as error:
        after = [getattr(p, "_local_tensor", p) for p in run.model.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
        return str(error)
    return ""


def values_of(model: Any, wrapper: str) -> list[np.ndarray[Any, Any]]:
    """Return the values of all parameters. Divided parameters are gathered from the ranks."""
    if wrapper.startswith("FSDP1"):
        from torch.distributed.fsdp import FullyShardedDataParallel

        with FullyShardedDataParallel.summon_full_params(model):
            return [p.detach().float().clone().numpy() for p in model.parameters()]
    whole: list[Callable[[], Any]] = [getattr(p, "full_tensor", lambda p=p: p) for p in model.parameters()]
    return [get().detach().float().clone().numpy() for get in whole]


def parts_of(rank: int, size: int, wrapper: str, feature: Feature) -> list[slice]:
    """Return the parts of a batch that a process uses.

    A rank uses one part. A training in one process uses the whole batch, usually as one part. With `master_weights` or
    `state_dtype`, it uses two parts, as two ranks do. With one part, the last bits of the gradients would differ from
    those of two ranks, and a difference in the last bit of a gradient may change the rounding of a state.
    """
    if wrapper:
        return [slice(rank, None, size)]
    is_narrow = feature.options.keys() & {"master_weights", "state_dtype"}
    return [slice(k, None, 2) for k in range(2)] if is_narrow else [slice(None)]


class Result(NamedTuple):
    """The result of a training."""

    losses: list[float]  # for each step, the loss on this rank's part of the batch
    norms: list[float | None]
    skipped: list[bool]
    values: list[np.ndarray[Any, Any]]
    averages: list[np.ndarray[Any, Any]]


def require_widths(run: Run, feature: Feature) -> None:
    """Assert that the states exp_avg and exp_avg_sq have the feature's `state_dtype`.

    Also assert that only `master_weights` adds the state "low", the low bits of the float32 weights.
    """
    for entry in run.ours.state.values():
        assert ("low" in entry) == ("master_weights" in feature.options)
        width = feature.options.get("state_dtype", "float32")
        assert {str(v.dtype) for name, v in entry.items() if name.startswith("exp_avg") and "scale" not in name} <= {
            f"torch.{width}"
        }


def train(rank: int, size: int, wrapper: str, rule: str, name: str) -> Result:
    """Train for `STEPS` steps with the feature `name`, on this rank's part of each batch. Return the results."""
    import torch

    feature = FEATURES[name]
    run = build(wrapper, rule, feature)
    losses: list[float] = []
    norms: list[float | None] = []
    skipped = []
    for step in range(STEPS):
        x, y = batch(torch, step, feature)
        loss, parts = 0.0, parts_of(rank, size, wrapper, feature)
        for part in parts:
            of_part = ((run.model(x[part]) - y[part]) ** 2).mean() / len(parts)
            of_part.backward()
            loss += float(of_part.detach())
        if feature.poisoned and step == POISONED:
            poison(run, rank, wrapper)
        run.optimizer.step()
        losses.append(loss)
        norms.append(run.ours.grad_norm)
        skipped.append(run.ours.skipped)
        if feature.options.get("zero_grads"):
            assert all(not p.grad.any() for p in run.model.parameters() if p.grad is not None), "gradients must be zero"
        else:
            run.optimizer.zero_grad()
    require_widths(run, feature)
    averages = []
    if feature.averaged:
        with run.ours.averaged():
            averages = values_of(run.model, wrapper)
    return Result(losses, norms, skipped, values_of(run.model, wrapper), averages)
