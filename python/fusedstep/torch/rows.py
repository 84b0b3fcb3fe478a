"""Sparse gradients. A step updates only the rows of an embedding that have a gradient."""

from __future__ import annotations

from typing import Any

import torch

from .. import _core
from .._base.rules import check_rows

Tensor = torch.Tensor


@torch.no_grad()
def step(opt: Any, grad_norm: float | None) -> bool:
    """Take a step with all gradients, sparse and dense, and return True; or do nothing and return False.

    The result is False if no gradient is sparse, if the optimizer does not support sparse gradients, or if several
    ranks would have to decide together whether to clip or skip the step. If a sparse gradient is not valid (see
    `prepared`), an error is raised before anything is changed.
    """
    if not opt.kernel.takes_rows or (opt._needs_ranks(grad_norm) and opt._sharing() is not None):
        return False  # the caller then raises an error; a norm over ranks would need the rows of all ranks
    members = [(group, p) for group in opt.param_groups for p in group["params"]]
    sparse = {p: p.grad for _, p in members if p.grad is not None and p.grad.layout == torch.sparse_coo}
    if not sparse:
        return False
    opt._steps_rows = True
    label = f"{type(opt).__name__}.step: grads"
    rows = {p: prepared(opt, f"{label}[{k}]", group, p) for k, (group, p) in enumerate(members) if p in sparse}
    if grad_norm is None and (opt.clip_norm is not None or opt.skip_nonfinite):
        dense = [p.grad for _, p in members if p.grad is not None and p not in sparse]
        squares = sum(g.squared_norm() for g in rows.values())
        grad_norm = float((torch.nn.utils.get_total_norm(dense).double() ** 2 + squares).sqrt()) / opt._grad_scale()
    before = opt._info
    opt._step_with_care(grad_norm, rows)
    if opt.zero_grads and opt._info is not before:
        for g in sparse.values():
            g.zero_()
    opt._plan = None  # so that the next step first looks for sparse gradients
    return True


def prepared(opt: Any, label: str, group: dict[str, Any], p: Tensor) -> Any:
    """Check the sparse gradient of the parameter p, and return it as a `_core.RowGradient`.

    `label` names the gradient in error messages, and `group` has the options of the parameter.
    """
    g: Any = p.grad
    options = {"l1": 0.0, "momentum": 0.0, **group}
    try:
        check_rows(label, opt.kernel.takes_rows, options, opt.ema_decay is not None)
    except ValueError as error:
        raise RuntimeError(str(error)) from None  # torch raises this type for sparse gradients
    if g.sparse_dim() != 1 or g.dtype != p.dtype or p.dtype not in (torch.float32, torch.float64):
        raise RuntimeError(
            f"{label} must be sparse in the first axis only, and must have the parameter's dtype, which must be "
            f"float32 or float64; got {g.dtype} {tuple(g.shape)} with {g.sparse_dim()} sparse axes for a {p.dtype} "
            "parameter"
        )
    if not p.is_contiguous() or g.shape != p.shape:
        got = f"a parameter of shape {tuple(p.shape)}, strides {p.stride()}, and a gradient of shape {tuple(g.shape)}"
        raise RuntimeError(
            f"{label}: the parameter must be contiguous and must have the shape of its sparse gradient; got {got}"
        )
    indices, values = g._indices().detach(), g._values().detach()
    for name, part in (("indices", indices), ("values", values)):
        if not has_storage(part):
            raise RuntimeError(f"{label} must have all of its {name} in memory; got a storage that is too small")
    try:
        return _core.RowGradient(indices[0].numpy(), values.resolve_neg().contiguous().numpy(), p.size(0))
    except IndexError as error:
        raise ValueError(f"{label} must have indices from 0 to {p.size(0) - 1}; got {error}") from None


def has_storage(t: Tensor) -> bool:
    """Return True if the storage of a dense tensor contains all of its elements."""
    reach = t.storage_offset() + sum((n - 1) * stride for n, stride in zip(t.shape, t.stride(), strict=True)) + 1
    return t.numel() == 0 or t.untyped_storage().nbytes() >= reach * t.element_size()


class RowSteps:
    """The checks of `SparseAdam`. The error messages contain the words of torch's error messages."""

    @classmethod
    def check_group(cls, optimizer: torch.optim.Optimizer, k: int) -> None:
        """Raise an error if a parameter is sparse or complex."""
        for i, p in enumerate(optimizer.param_groups[k]["params"]):
            what = f"SparseAdam: param_groups[{k}]: params[{i}]"
            if p.layout != torch.strided:
                raise ValueError(f"{what}: SparseAdam requires dense parameter tensors; got {p.layout}")
            if p.is_complex():
                raise ValueError(f"{what}: SparseAdam does not support complex parameters; got {p.dtype}")
        super().check_group(optimizer, k)  # type: ignore[misc]
