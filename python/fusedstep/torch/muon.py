"""Muon for torch. The direction of a step is the orthogonalised momentum of a matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from .._base import checks as _checks
from .._base.rules import adjustment
from ._directions import DirectedSteps, Moved, named
from ._options import completed
from ._state import Tensor


class CheckedOptions(torch.optim.Muon):
    """torch's Muon, without torch's check that each parameter has two axes. torch still checks the options.

    With ``flatten=True`` or ``adamw=True``, the parameters of a group may have another number of axes.
    """

    def __init__(self, params: Any, *args: Any, **options: Any) -> None:
        own = {name: options.pop(name) for name in tuple(options) if name not in _TORCHS}
        defaults = torch.optim.Muon([torch.zeros(1, 1)], *args, **options).defaults | own
        torch.optim.Optimizer.__init__(self, params, defaults)


#: The options of ``torch.optim.Muon``.
_TORCHS = ("lr", "weight_decay", "momentum", "nesterov", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn")


class OrthogonalSteps(DirectedSteps):
    """The part of Muon's step that runs before the kernel.

    It computes the orthogonalised momentum of each matrix. The kernel then uses this momentum in place of the gradient.
    """

    #: Options of a group that `fusedstep.Muon`, the optimizer for arrays, does not have.
    own_extras = ("flatten", "ns_dtype")
    in_type_of_gradient = True

    @classmethod
    def check_group(cls, optimizer: torch.optim.Optimizer, k: int) -> None:
        """Raise an error if an option of group k is not valid, or if Muon cannot update a parameter of this group.

        A parameter must be a matrix, and must not be sharded. With ``flatten=True``, it may have more than two axes.
        With ``adamw=True``, it may have any number of axes and may be sharded.
        """
        group, label = optimizer.param_groups[k], cls.__name__
        flatten = _checks.flag(f"{label}: param_groups[{k}]: flatten", group.get("flatten", False))
        dtype = group.get("ns_dtype")
        if dtype is not None and (not isinstance(dtype, torch.dtype) or not dtype.is_floating_point):
            raise TypeError(f"{label}: param_groups[{k}]: ns_dtype must be a floating-point torch.dtype; got {dtype!r}")
        for what, p in named(f"{label}: param_groups[{k}]: ", group):
            if not p.is_complex() and not group.get("adamw"):
                _require_matrix(what, p, flatten)
        super().check_group(optimizer, k)

    def _options_of(self, n: int, group: Mapping[str, Any]) -> Mapping[str, Any]:
        return completed(self.kernel, group)

    def _directs(self, options: Mapping[str, Any]) -> bool:
        return not options.get("adamw")

    def _direction(self, p: Tensor, g: Tensor, options: Mapping[str, Any], rows: Any) -> tuple[list[Moved], Tensor]:
        buffer, direction = _direction(g, self.state.get(p, {}).get("momentum_buffer"), options)
        return [Moved(p, "momentum_buffer", ..., buffer)], direction.to(p.dtype)


def _require_matrix(what: str, p: Tensor, flatten: bool) -> None:
    """Raise an error if a parameter does not have two axes. With `flatten`, it may have more than two axes."""
    if p.ndim != 2 and not (flatten and p.ndim > 2):
        flat = "Under FSDP1, a matrix is flattened into 1D shards. "
        hint = "With flatten=True, Muon merges the axes after the first. " if p.ndim > 2 else flat
        raise ValueError(
            f"{what}: Muon only supports 2D parameters; got a parameter of size {tuple(p.shape)}. "
            f"{hint}Put parameters that are not matrices into a group with adamw=True, so that AdamW updates them"
        )


def _direction(g: Tensor, buffer: Tensor | None, group: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Return the next momentum buffer, and the orthogonalised momentum times the factor that ``adjust_lr_fn`` selects.

    `g` is the gradient, and `buffer` is the momentum buffer before the step.
    """
    momentum, lr_fn = group["momentum"], group["adjust_lr_fn"]
    # With a momentum of 0, the old buffer is not read, because 0 * inf would be nan.
    start = buffer.to(g.dtype) if buffer is not None and momentum else torch.zeros_like(g)
    moved = start.lerp(g, 1 - momentum)
    update = g.lerp(moved, momentum) if group["nesterov"] else moved
    matrix = update.flatten(1)
    if matrix.numel() == 0:
        return moved, update
    dtype = group.get("ns_dtype") or torch.promote_types(g.dtype, torch.float32)
    found = orthogonalised(matrix.to(dtype), group["ns_coefficients"], group["ns_steps"], group["eps"])
    return moved, found.to(g.dtype).mul_(adjustment(lr_fn, *matrix.shape)).reshape(g.shape)


def orthogonalised(x: Tensor, coefficients: Iterable[float], steps: int, eps: float) -> Tensor:
    """Return an approximation of U V^T, where x = U S V^T is the singular value decomposition of the matrix x.

    The function uses Newton-Schulz iterations in x's dtype. For the formulas, see `fusedstep.Muon`.
    """
    a, b, c = coefficients
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    x = x / x.norm().clamp(min=eps)
    following, spare = x.new_empty(x.shape), x.new_empty(x.shape)
    gram = x.new_empty(len(x), len(x))
    polynomial = torch.empty_like(gram)
    for _ in range(steps):
        torch.mm(x, x.T, out=gram)
        torch.addmm(gram, gram, gram, beta=b, alpha=c, out=polynomial)
        torch.addmm(x, polynomial, x, beta=a, out=following)
        x, following, spare = following, spare, following
    return x.T if tall else x
