"""Functions for tests/test_torch_sync_batch_norm.py. They run in each process of a `World` (see worlds.py)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist

import fusedstep.torch as ft

SHAPES = {"rows": (12, 5), "images": (12, 3, 4, 4), "signals": (12, 3, 7)}
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}


def numbers(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def layer(kind: Any, channels: int, dtype: torch.dtype, **options: Any) -> Any:
    made = kind(channels, dtype=dtype, **options)
    if made.weight is not None:
        with torch.no_grad():
            made.weight.copy_(torch.linspace(0.5, 1.5, channels))
            made.bias.copy_(torch.linspace(-1, 1, channels))
    return made


def require_close(ours: torch.Tensor, whole: torch.Tensor, what: str) -> None:
    assert ours.shape == whole.shape, what
    if ours.numel():
        far = float((ours - whole).abs().max() / max(1.0, float(whole.abs().max())))
        assert far < TOLERANCE[whole.dtype], (what, far)


def as_one_batch(
    rank: int, size: int, shape: str, first: int, dtype_name: str, options: dict[str, Any], with_residual: bool
) -> list[bytes]:
    """Compare SyncBatchNorm on two ranks with a batch normalisation of the whole batch.

    Rank 0 has the first `first` rows of the batch, and rank 1 the others. Return the running statistics.
    """
    dtype = getattr(torch, dtype_name)
    dims = SHAPES[shape]
    kind = ft.BatchNorm2d if len(dims) == 4 else ft.BatchNorm1d
    one = layer(kind, dims[1], dtype, **options)
    ours = layer(ft.SyncBatchNorm, dims[1], dtype, **options)
    part = slice(0, first) if rank == 0 else slice(first, None)
    for k in range(2):
        x, residual, dy = (
            numbers(dims, 3 * k, dtype) * 0.5 + 3,
            numbers(dims, 3 * k + 1, dtype),
            numbers(dims, 3 * k + 2, dtype),
        )
        if len(dims) == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        whole, whole_residual = x.clone().requires_grad_(), residual.clone().requires_grad_()
        mine = x[part].clone(memory_format=torch.preserve_format).requires_grad_()
        my_residual = residual[part].clone().requires_grad_()
        y = ours(mine, my_residual if with_residual else None)
        y_whole = one(whole, whole_residual if with_residual else None)
        y.backward(dy[part])
        y_whole.backward(dy)
        require_close(y, y_whole[part], "y")
        require_close(mine.grad, whole.grad[part], "dx")
        if with_residual:
            require_close(my_residual.grad, whole_residual.grad[part], "dresidual")
    for p, q in zip(ours.parameters(), one.parameters(), strict=True):
        total = p.grad.clone()
        dist.all_reduce(total)
        require_close(total, q.grad, "gradient of weight or bias")
    require_close(ours.running_mean, one.running_mean, "running_mean")
    require_close(ours.running_var, one.running_var, "running_var")
    assert ours.num_batches_tracked == one.num_batches_tracked == 2
    require_close(ours.eval()(mine), one.eval()(whole)[part], "y in evaluation")
    return [t.numpy().tobytes() for t in (ours.running_mean, ours.running_var)]


def conversions(rank: int, size: int) -> None:
    """Convert the batch norms of a model with `convert_sync_batchnorm` of torch and of fusedstep.

    Torch's method must refuse a fusedstep layer with relu=True, and must convert one without. Fusedstep's method must
    convert all batch norms. The model that it returns runs a pass under DistributedDataParallel.
    """
    model = torch.nn.Sequential(
        torch.nn.Linear(5, 4),
        ft.BatchNorm1d(4, relu=True, momentum=None),
        torch.nn.BatchNorm1d(4),
        torch.nn.Linear(4, 1),
    ).eval()
    kept = [model[1].weight, model[1].running_mean, model[1].num_batches_tracked]
    with pytest.raises(TypeError, match=r"layers must have relu=False, .* fusedstep\.torch\.SyncBatchNorm"):
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert ft.SyncBatchNorm.convert_sync_batchnorm(model) is model
    first, second = model[1], model[2]
    assert type(first) is type(second) is ft.SyncBatchNorm
    assert (first.relu, first.momentum, second.relu, second.momentum) == (True, None, False, 0.1)
    assert first.weight is kept[0] and first.running_mean is kept[1] and first.num_batches_tracked is kept[2]
    assert not first.training
    wrapped = torch.nn.parallel.DistributedDataParallel(model.train())
    wrapped(numbers((3 + rank, 5), rank, torch.float32)).sum().backward()
    lone = torch.nn.SyncBatchNorm.convert_sync_batchnorm(torch.nn.Sequential(ft.BatchNorm1d(4)))
    assert type(lone[0]) is torch.nn.SyncBatchNorm


def refusals(rank: int, size: int) -> None:
    """Assert that all ranks raise an error for each unsuitable input, and that none of these batches is counted."""
    made = ft.SyncBatchNorm(3)
    message = r"input must have at least 2 axes, with 3 channels in the second axis; got shape \(2, 4\)"
    with pytest.raises(ValueError, match=message):
        made(torch.ones(2, 4))
    with pytest.raises(ValueError, match=r"residual must have the input's shape \(2, 3\); got \(3, 2\)"):
        made(torch.ones(2, 3), torch.ones(3, 2))
    need = (
        r"input, .* must be dense tensors on the CPU, all float32 or all float64, and of the class Tensor or Parameter"
    )
    got = r"Tensor of torch\.bfloat16 on cpu, Parameter of torch\.float32 on cpu, "
    with pytest.raises(TypeError, match=f"{need}; got {got}"):
        made(torch.ones(2, 3, dtype=torch.bfloat16))
    with pytest.raises(TypeError, match=f"{need}; got Own of torch.float32 on cpu, "):
        made(torch.ones(2, 3).as_subclass(type("Own", (torch.Tensor,), {})))
    with pytest.raises(TypeError, match=rf"{need}; got Tensor of torch\.float32 on cpu \(with a lazy negation\), "):
        made(torch.ones(2, 3, dtype=torch.complex64).conj().imag)
    with torch.autograd.forward_ad.dual_level(), pytest.raises(TypeError, match=r"must not run under torch\.compile"):
        made(torch.ones(2, 3))
    with pytest.raises(ValueError, match="expected more than 1 value per channel when training; got 1"):
        made(torch.ones(int(rank == 0), 3))
    assert made.num_batches_tracked == 0
