"""Sparse gradients: the rows of an embedding that have a gradient are stepped, and no other."""

from __future__ import annotations

from typing import Any

import torch

from .. import _core
from .._base.rules import check_rows

Tensor = torch.Tensor


@torch.no_grad()
def step(opt: Any, grad_norm: float | None) -> bool:
    """Step a `FusedOptimizer` that takes rows where some gradients are sparse; False, with nothing done, if none is.

    All are checked first. Then the dense ones are stepped, which refuses what does not fit, and then the rows.
    """
    if not opt.kernel.takes_rows:
        return False
    members = [(k, p) for k, group in enumerate(opt.param_groups) for p in group["params"] if p.grad is not None]
    sparse = {p: p.grad for _, p in members if p.grad.layout == torch.sparse_coo}
    if not sparse:
        return False
    opt._steps_rows = True
    label = f"{type(opt).__name__}.step: grads"
    rows = {p: _prepared(opt, label, opt.param_groups[k], p) for k, p in members if p in sparse}
    scale = opt.__dict__.get("grad_scale")
    scale = 1.0 if scale is None else float(scale)
    if grad_norm is None and (opt.clip_norm is not None or opt.skip_nonfinite):
        dense = [p.grad for _, p in members if p not in sparse]
        squares = sum(g.squared_norm() for g in rows.values())
        grad_norm = float((torch.nn.utils.get_total_norm(dense).double() ** 2 + squares).sqrt()) / scale
    opt._bound().attach(create=True)  # as long as the gradients are there
    before = opt._info
    try:
        for p in sparse:
            p.grad = None
        opt._step_with_care(grad_norm)
        info, binding = opt._info, opt._binding
        if info is before or info is None or info.skipped or binding is None:  # GradScaler's or our skip
            return True
        place = {m.param: k for k, m in enumerate(binding.members)}
        rates = [float(group["lr"]) for group in opt.param_groups]
        for p, gradient in rows.items():
            factor = info.clip_coef / scale
            if not binding.plan.step_rows(place[p], gradient, rates, factor, opt.clip_value, opt.num_threads):
                raise RuntimeError(f"{type(opt).__name__}.step: its groups or state were changed during a step")
    finally:
        for p, g in sparse.items():
            p.grad = g
            if opt.zero_grads:
                g._values().zero_()
    return True


def _prepared(opt: Any, label: str, group: dict[str, Any], p: Tensor) -> Any:
    """Return a sparse gradient as the core takes it."""
    g: Any = p.grad
    values = {"l1": 0.0, "momentum": 0.0, **group}
    try:
        check_rows(label, opt.kernel.takes_rows, values, opt.ema_decay is not None)
    except ValueError as error:  # as torch has it
        raise RuntimeError(str(error)) from None
    if g.sparse_dim() != 1 or g.dtype != p.dtype or p.dtype not in (torch.float32, torch.float64):
        raise RuntimeError(
            f"{label} must be sparse in the first axis alone, of float32 or float64, for sparse steps; "
            f"got {g.dtype} {tuple(g.shape)} with {g.sparse_dim()} sparse axes"
        )
    if not p.is_contiguous():
        raise RuntimeError(f"{label}: sparse gradients need a contiguous parameter; got strides {p.stride()}")
    values_of = g._values().detach().contiguous()
    return _core.RowGradient(g._indices()[0].numpy(), values_of.numpy(), p.size(0))


class RowSteps:
    """What `SparseAdam` refuses in torch's words."""

    @classmethod
    def check_group(cls, optimizer: torch.optim.Optimizer, k: int) -> None:
        """Raise unless every parameter is dense and real."""
        for i, p in enumerate(optimizer.param_groups[k]["params"]):
            what = f"SparseAdam: param_groups[{k}]: params[{i}]"
            if p.layout != torch.strided:
                raise ValueError(f"{what}: SparseAdam requires dense parameter tensors; got {p.layout}")
            if p.is_complex():
                raise ValueError(f"{what}: SparseAdam does not support complex parameters; got {p.dtype}")
        super().check_group(optimizer, k)  # type: ignore[misc]
