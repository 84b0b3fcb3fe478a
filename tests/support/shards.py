"""Functions for tests/test_distributed_shards.py. They run in each process of a `World` (see worlds.py)."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

import fusedstep.torch as ft

PLACEMENTS = {
    "cut by rows": [Shard(0)],
    "cut by columns": [Shard(1)],
    "copied": [Replicate()],
}
#: Shapes of parameters. The names say how the rows are divided among two ranks.
SHAPES = {"even": (4, 6), "uneven": (5, 3), "empty on one rank": (1, 4)}


def numbers(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def parameter(value: torch.Tensor, mesh: Any, placements: Any) -> torch.nn.Parameter:
    return torch.nn.Parameter(distribute_tensor(value.clone(), mesh, placements))


def bits(t: torch.Tensor) -> bytes:
    """Return the bytes of the whole tensor."""
    whole = t.full_tensor() if isinstance(t, DTensor) else t
    return whole.detach().numpy().tobytes()


def steps_as_whole(rank: int, size: int, rule: str) -> None:
    """Take three steps of a DTensor and of an ordinary parameter with the same values and gradients.

    Assert that the parameters and their states then have the same bits.
    """
    mesh = init_device_mesh("cpu", (size,))
    for placements in PLACEMENTS.values():
        for shape in SHAPES.values():
            whole = torch.nn.Parameter(numbers(shape, 1))
            shard = parameter(whole.detach(), mesh, placements)
            ours = getattr(ft, rule)
            optimizers = ours([whole], lr=0.1, ema_decay=0.9), ours([shard], lr=0.1, ema_decay=0.9)
            for step in range(3):
                gradient = numbers(shape, 10 + step)
                whole.grad, shard.grad = gradient.clone(), distribute_tensor(gradient.clone(), mesh, placements)
                for optimizer in optimizers:
                    optimizer.step()
            assert bits(shard) == bits(whole)
            states = [optimizer.state[p] for optimizer, p in zip(optimizers, (whole, shard), strict=True)]
            for name, value in states[0].items():
                assert bits(states[1][name]) == bits(value), name
                if name != "step":
                    assert states[1][name].placements == shard.placements, "states need their parameter's placements"


#: Options for narrow formats: master weights, narrow states, or stochastic rounding of the parameter.
WIDTHS: dict[str, dict[str, Any]] = {
    "master weights": {"master_weights": True},
    "master weights, bfloat16 states": {"master_weights": True, "state_dtype": "bfloat16"},
    "8-bit states": {"state_dtype": "uint8"},
    "master weights, 8-bit states": {"master_weights": True, "state_dtype": "uint8"},
    "stochastic rounding": {"rounding": "stochastic"},
}
#: Shapes of parameters. If the first axis is divided between two ranks, each rank's part begins at a multiple of 256
#: elements. 256 elements are a block, which has one common scale in 8-bit states.
AT_BLOCKS = {"even": (4, 256), "uneven": (3, 512), "short rows": (8, 128), "one row": (1, 300), "flat": (1023,)}


def widths_as_whole(rank: int, size: int, dtype: str, width: str) -> None:
    """Take three steps of a DTensor and of an ordinary parameter, and compare them and their states bit for bit.

    `dtype` is the dtype of both parameters, and `width` is the name of the optimizers' options in `WIDTHS`.
    """
    mesh = init_device_mesh("cpu", (size,))
    kind, options = getattr(torch, dtype), WIDTHS[width]
    shapes = list(AT_BLOCKS.values()) + ([(5, 3), (1, 4)] if width == "master weights" else [])
    cuts = [[Shard(0)], [Replicate()]]
    for shape, placements in ((s, c) for s in shapes for c in cuts):
        value = numbers(shape, 1).to(kind)
        whole, shard = torch.nn.Parameter(value.clone()), parameter(value, mesh, placements)
        optimizers = [ft.AdamW([p], lr=0.1, seed=3, **options) for p in (whole, shard)]
        for step in range(3):
            gradient = numbers(shape, 10 + step).to(kind)
            whole.grad, shard.grad = gradient.clone(), distribute_tensor(gradient.clone(), mesh, placements)
            for optimizer in optimizers:
                optimizer.step()
        require_same_states(optimizers, (whole, shard))


def require_same_states(optimizers: list[Any], params: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Assert that two parameters and their states have the same bits. The second parameter is a DTensor.

    "low_sum", checksums of the parameter, are not compared, because each rank computes them from its own part. They
    must not be in the state dict of the DTensor's optimizer.
    """
    whole, shard = (optimizer.state[p] for optimizer, p in zip(optimizers, params, strict=True))
    assert raw(params[1]) == raw(params[0])
    assert whole.keys() == shard.keys()
    for name, value in whole.items():
        if name != "low_sum":
            assert raw(shard[name]) == raw(value), name
        if name not in ("low_sum", "step"):
            assert shard[name].placements == params[1].placements, name
    assert "low_sum" not in optimizers[1].state_dict()["state"][0]


def raw(t: torch.Tensor) -> bytes:
    """Return the bytes of the whole tensor. All dtypes are possible, unlike in `bits`."""
    wide = torch.int32 if t.dtype == torch.int16 else t.dtype  # gloo and NCCL do not support int16
    whole = t.detach().to(wide).full_tensor().to(t.dtype) if isinstance(t, DTensor) else t
    return whole.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def random_bits_of_parts(rank: int, size: int) -> None:
    """Assert that the ranks round their parts of a DTensor with different random bits.

    All elements have the same exact result, and about half of them must be rounded up. So about half of the elements
    must differ between the parts. The second part begins inside a block of 256 elements.
    """
    mesh = init_device_mesh("cpu", (size,))
    p = parameter(torch.zeros(2 * size, 100, dtype=torch.bfloat16), mesh, [Shard(0)])
    optimizer = ft.SGD([p], lr=1 + 2**-8, rounding="stochastic")  # results are halfway between two bfloat16 numbers
    p.grad = distribute_tensor(torch.ones(2 * size, 100, dtype=torch.bfloat16), mesh, [Shard(0)])
    optimizer.step()
    parts = p.detach().full_tensor().float().chunk(size)
    assert 0.3 < float((parts[0] == -1).float().mean()) < 0.7
    assert 0.3 < float((parts[0] == parts[1]).float().mean()) < 0.7


def cut_blocks(rank: int, size: int) -> None:
    """Assert that 8-bit states are refused if a DTensor is cut inside a block of 256 elements.

    A new optimizer must refuse them, and so must a step. The parameter must not change.
    """
    mesh = init_device_mesh("cpu", (size,))
    for shape, placements in [((5, 3), [Shard(0)]), ((4, 256), [Shard(1)]), ((6, 128), [Shard(0)])]:
        p = parameter(numbers(shape, 1), mesh, placements)
        need = r"must be cut along its first axis at multiples of 256 elements .*got a DTensor with placements \(Shard"
        with pytest.raises(ValueError, match=rf"AdamW: param_groups\[0\]: params\[0\] {need}"):
            ft.AdamW([p], state_dtype="uint8")
        optimizer = ft.AdamW([p], lr=0.1)
        optimizer.param_groups[0]["state_dtype"] = "uint8"
        p.grad = distribute_tensor(numbers(shape, 2), mesh, placements)
        with pytest.raises(ValueError, match=rf"AdamW: params\[0\] {need}"):
            optimizer.step()
        assert bits(p) == numbers(shape, 1).numpy().tobytes()


def states_of_the_whole(rank: int, size: int) -> None:
    """Load the states of a sharded model into a model that one process has as a whole.

    The next steps of both models must give the same bits.
    """
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_optimizer_state_dict,
        set_optimizer_state_dict,
    )
    from torch.distributed.fsdp import fully_shard

    options: dict[str, Any] = {"lr": 0.1, "state_dtype": "uint8"}
    full = StateDictOptions(full_state_dict=True)
    model = fully_shard(torch.nn.Linear(256, 3, bias=False), mesh=init_device_mesh("cpu", (size,)))
    optimizer = ft.AdamW(model.parameters(), **options)
    one: Any = torch.nn.Linear(256, 3, bias=False)
    alone = ft.AdamW(one.parameters(), **options)
    gradients = [numbers((3, 256), k) for k in range(3)]

    def step(p: Any, of: Any, k: int) -> None:
        p.grad = gradients[k] if p is one.weight else distribute_tensor(gradients[k], p.device_mesh, p.placements)
        of.step()

    step(model.weight, optimizer, 0)
    saved = get_optimizer_state_dict(model, optimizer, options=full)
    if rank == 0:
        set_optimizer_state_dict(one, alone, copy.deepcopy(saved), options=full)
    whole = model.weight.detach().full_tensor()
    if rank == 0:
        with torch.no_grad():
            one.weight.copy_(whole)
        step(one.weight, alone, 1)
    step(model.weight, optimizer, 1)
    whole = raw(model.weight)
    codes = raw(optimizer.state[model.weight]["exp_avg"])
    if rank == 0:
        assert raw(one.weight) == whole
        assert raw(alone.state[one.weight]["exp_avg"]) == codes


def states_as_torchs(rank: int, size: int) -> None:
    """Assert that the states of a DTensor have the same types, shapes and dtypes as in torch's optimizer."""
    mesh = init_device_mesh("cpu", (size,))
    kinds = []
    for kind in (torch.optim.AdamW, ft.AdamW):
        p = parameter(numbers((5, 3), 1), mesh, [Shard(0)])
        p.grad = distribute_tensor(numbers((5, 3), 2), mesh, [Shard(0)])
        optimizer = kind([p], lr=0.1)
        optimizer.step()
        kinds.append({name: (type(v), v.shape, v.dtype) for name, v in optimizer.state[p].items()})
    assert kinds[0] == kinds[1]


def refusals(rank: int, size: int) -> None:
    """Assert that unsuitable gradients, process groups and saved states of DTensors are refused."""
    mesh = init_device_mesh("cpu", (size,))
    p = parameter(numbers((4, 2), 1), mesh, [Shard(0)])
    optimizer = ft.AdamW([p], lr=0.1)
    before = bits(p)
    whole = parameter(numbers((4, 2), 1), mesh, [Replicate()])
    part = DTensor.from_local(numbers((4, 2), 3), mesh, [Partial()])
    whole.grad = part
    with pytest.raises(ValueError, match=r"grads\[0\] must be a DTensor .*\(Replicate\(\),\); got a partial DT"):
        ft.AdamW([whole], lr=0.1).step()
    p.grad = distribute_tensor(numbers((4, 2), 3), mesh, [Replicate()])
    need = r"must be a DTensor with the placements of its parameter, \(Shard\(dim=0\),\)"
    with pytest.raises(ValueError, match=rf"grads\[0\] {need}"):
        optimizer.step()
    with pytest.raises(ValueError, match="process_group must be None, because the device mesh"):
        ft.AdamW([p], lr=0.1, process_group=dist.group.WORLD).step()
    p.grad = None
    saved = ft.AdamW([torch.nn.Parameter(numbers((4, 2), 1))], lr=0.1)
    saved.param_groups[0]["params"][0].grad = numbers((4, 2), 1)
    saved.step()
    need = r"must have the same placements as its parameter, which is a DTensor with placements \(Shard\(dim=0\),\)"
    with pytest.raises(ValueError, match=need):
        optimizer.load_state_dict(saved.state_dict())
    assert bits(p) == before


def rules_of_whole_tensors(rank: int, size: int, rule: str) -> None:
    """Assert that an optimizer refuses a parameter of which each rank has only a part.

    LAMB and LARS must accept a DTensor of which each rank has a copy, and step it like an ordinary parameter.
    """
    mesh = init_device_mesh("cpu", (size,))
    part, copied = (parameter(numbers((4, 2), 1), mesh, [where]) for where in (Shard(0), Replicate()))
    with pytest.raises(ValueError, match=r"params\[0\] must be (whole|an ordinary tensor)"):
        getattr(ft, rule)([part], lr=0.1)
    with pytest.raises(ValueError, match=r"params\[0\].*(must be whole on every rank.*FSDP1|only supports 2D)"):
        getattr(ft, rule)(divided_by_fsdp1().parameters(), lr=0.1)
    if rule in ("LAMB", "LARS"):
        whole = torch.nn.Parameter(numbers((4, 2), 1))
        copied.grad, whole.grad = distribute_tensor(numbers((4, 2), 2), mesh, [Replicate()]), numbers((4, 2), 2)
        for p in (copied, whole):
            getattr(ft, rule)([p], lr=0.1).step()
        assert bits(copied) == bits(whole)


def divided_by_fsdp1() -> torch.nn.Module:
    return FullyShardedDataParallel(torch.nn.Linear(4, 2), use_orig_params=True, device_id=torch.device("cpu"))


def norms_before_directions(rank: int, size: int, rule: str) -> list[Any]:
    """Compare steps of an optimizer on all ranks with steps in one process. Return the gradient norms of all steps.

    These optimizers compute a direction from each gradient before the kernel's step. The direction must be computed
    from the gradient that is clipped by the norm over all ranks. In one step, a gradient on rank 0 contains inf. All
    ranks must skip this step.
    """
    params = [torch.nn.Parameter(numbers((4, 3), 1 + k)) for k in range(size)]
    alone = [torch.nn.Parameter(p.detach().clone()) for p in params]
    options = {"lr": 0.1, "clip_norm": 0.5, "skip_nonfinite": True, "process_group": None}
    one = getattr(ft, rule)(alone, **options)
    ours = getattr(ft, rule)([params[rank]], **{**options, "process_group": dist.group.WORLD})
    found = []
    for step in range(4):
        for k in range(size):
            params[k].grad = alone[k].grad = numbers((4, 3), 10 * step + k)
        if step == 1:
            params[0].grad[0, 0] = torch.inf  # `one` and `ours` share this gradient
        one.step()
        ours.step()
        assert ours.skipped == one.skipped == (step == 1)
        assert ours.grad_norm == pytest.approx(one.grad_norm, rel=1e-6)
        found.append(ours.grad_norm)
    assert torch.allclose(params[rank], alone[rank], rtol=1e-6, atol=1e-7)
    return found


def one_rank_has_no_direction(rank: int, size: int, rule: str, how: str) -> str:
    """Take a step that fails, because the gradient or the states (see `how`) of rank 1 have a wrong layout or shape.

    Assert that no rank changes its parameter. Return the error that the calling rank gets.
    """
    p = torch.nn.Parameter(numbers((4, 3), 1 + rank))
    optimizer = getattr(ft, rule)([p], lr=0.1, clip_norm=0.5, zero_grads=True, process_group=dist.group.WORLD)
    p.grad = numbers((4, 3), 10 + rank)
    optimizer.step()
    p.grad = numbers((4, 3), 20 + rank)
    if rank == 1 and how == "gradient":
        p.grad = numbers((1, 3), 21).expand(4, 3)
    elif rank == 1:
        optimizer.state[p] = dict.fromkeys(optimizer.state[p], torch.ones(7))
    before = bits(p)
    with pytest.raises((RuntimeError, ValueError)) as caught:
        optimizer.step()
    assert bits(p) == before
    return f"{caught.type.__name__}: {caught.value}"


def norms(rank: int, size: int, dtype: str, factor: float) -> list[float]:
    """Return the gradient norm of DTensors. Assert that it equals the norm of the whole gradients.

    The relative difference may be 1e-14.
    The gradients are multiplied by `factor`. If it is at least 1, the gradients are clipped, and this is checked. At
    the end, a parameter that is not sharded has different gradients on the ranks. This must be refused.
    """
    mesh = init_device_mesh("cpu", (size,))
    kind = getattr(torch, dtype)
    gradients = [numbers(shape, k, kind) * factor for k, shape in enumerate([(257, 31), (1, 5), (4096,), (6, 2)])]
    cuts: list[list[Any]] = [[Shard(0)], [Shard(0)], [Shard(0)], [Replicate()]]
    params = []
    for gradient, placements in zip(gradients, cuts, strict=True):
        p = parameter(torch.zeros_like(gradient), mesh, placements)
        p.grad = distribute_tensor(gradient, mesh, placements)
        params.append(p)
    plain = torch.nn.Parameter(torch.zeros(3, dtype=kind))  # every rank has this parameter, with the same gradient
    plain.grad = gradients[2][:3].clone()
    optimizer = ft.SGD([*params, plain], lr=0.1, clip_norm=1.0)
    optimizer.step()
    # unlike torch's norm, math.hypot does not overflow
    exact = math.hypot(*(x for g in [*gradients, plain.grad] for x in g.flatten().tolist()))
    assert optimizer.grad_norm == pytest.approx(exact, rel=1e-14, abs=0)
    if factor >= 1:
        require_clipped(params, plain)
    plain.grad = plain.grad + factor * rank
    with pytest.raises(ValueError, match="gradients of parameters that are not sharded must be the same on all ranks"):
        optimizer.step()
    return [optimizer.grad_norm]


def require_clipped(params: list[Any], plain: torch.Tensor) -> None:
    """Assert that the step, which began at 0, has the length lr * clip_norm = 0.1."""
    clipped = math.hypot(
        *(float(p.detach().full_tensor().double().norm()) for p in params), float(plain.detach().norm())
    )
    assert clipped == pytest.approx(0.1, rel=1e-5)


def on_a_grid(rank: int, size: int) -> list[float]:
    """Compare a step of DTensors with a step of ordinary parameters. Return the gradient norm.

    Some DTensors are on a mesh with two axes, and others on one axis of this mesh.
    """
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("copies", "parts"))
    value = numbers((6, 4), 1)
    layouts = [
        (mesh, [Replicate(), Shard(0)]),
        (mesh, [Shard(0), Shard(1)]),
        (mesh, [Replicate(), Replicate()]),
        (mesh["parts"], [Shard(0)]),
        (mesh["copies"], [Shard(1)]),
    ]
    params = []
    for k, (on, placements) in enumerate(layouts):
        p = parameter(value, on, placements)
        p.grad = distribute_tensor(numbers((6, 4), 20 + k), on, placements)
        params.append(p)
    optimizer = ft.AdamW(params, lr=0.1, clip_norm=1.0)
    optimizer.step()
    exact = math.hypot(*(float(numbers((6, 4), 20 + k).double().norm()) for k in range(len(layouts))))
    assert optimizer.grad_norm == pytest.approx(exact, rel=1e-14)
    whole = [torch.nn.Parameter(value.clone()) for _ in layouts]
    for k, p in enumerate(whole):
        p.grad = numbers((6, 4), 20 + k)
    ft.AdamW(whole, lr=0.1, clip_norm=1.0).step()
    for a, b in zip(params, whole, strict=True):
        assert np.abs(a.full_tensor().detach().numpy() - b.detach().numpy()).max() < 1e-7
    return [optimizer.grad_norm]


def one_rank_is_wrong(rank: int, size: int, how: str) -> str:
    """Take a step that fails, because the gradient, an option, the states or the learning rate of rank 1 is wrong.

    `how` says which of them. Assert that no rank changes its parameter. Return the error that the calling rank gets.
    """
    mesh = init_device_mesh("cpu", (size,))
    p = parameter(numbers((4, 2), 1), mesh, [Shard(0)])
    optimizer = ft.AdamW([p], lr=0.1, clip_norm=1.0)
    p.grad = distribute_tensor(numbers((4, 2), 2), mesh, [Shard(0)])
    optimizer.step()
    before, state = bits(p), bits(optimizer.state[p]["exp_avg"])
    local: Any = p.grad._local_tensor
    if rank == 1 and how == "gradient":
        p.grad._local_tensor = local.repeat(2, 1)
    if rank == 1 and how == "option":
        optimizer.param_groups[0]["betas"] = (2.0, 0.9)
    if rank == 1 and how == "state":
        optimizer.state[p]["exp_avg"] = None
        optimizer.state[p]["exp_avg_sq"] = torch.zeros(3)
    if rank == 1 and how == "rate":
        optimizer.param_groups[0]["lr"] = float("nan")
    with pytest.raises((ValueError, TypeError, RuntimeError)) as caught:
        optimizer.step()
    assert bits(p) == before
    if how != "state":
        assert bits(optimizer.state[p]["exp_avg"]) == state
    p.grad._local_tensor = local
    return f"{type(caught.value).__name__}: {caught.value}"


def found_inf(rank: int, size: int) -> None:
    """Set `found_inf` to 1 on rank 1, as torch's GradScaler does. No rank may change its parameter.

    If `found_inf` is 0 on all ranks, the parameter must change.
    """
    mesh = init_device_mesh("cpu", (size,))
    p = parameter(numbers((4, 2), 1), mesh, [Shard(0)])
    optimizer = ft.AdamW([p], lr=0.1)
    p.grad = distribute_tensor(numbers((4, 2), 2), mesh, [Shard(0)])
    before = bits(p)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(2.0), torch.tensor(float(rank == 1))
    optimizer.step()
    assert bits(p) == before
    optimizer.found_inf = torch.tensor(0.0)
    optimizer.step()
    assert bits(p) != before


def groups_by_hand(rank: int, size: int) -> list[float | None]:
    """Compare the gradient norm over a `process_group` with the exact norm. Return the norm of the last step.

    If all ranks have the same gradient, the step must be refused, unless it gets the norm as the argument `grad_norm`.
    """
    p = torch.nn.Parameter(torch.zeros(4))
    p.grad = numbers((4,), 30 + rank)
    optimizer = ft.SGD([p], lr=1.0, clip_norm=1e-3, process_group=dist.group.WORLD)
    optimizer.step()
    exact = math.hypot(*(float(numbers((4,), 30 + k).double().norm()) for k in range(size)))
    assert optimizer.grad_norm == pytest.approx(exact, rel=1e-14)
    p.grad = numbers((4,), 30)
    before = bits(p)
    with pytest.raises(ValueError, match="process_group must be a group whose processes have different parts"):
        optimizer.step()
    assert bits(p) == before
    optimizer.step(grad_norm=5.0)
    assert bits(p) != before
    return [optimizer.grad_norm]
