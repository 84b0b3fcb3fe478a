"""Muon's part of a step in torch: the orthogonalised momentum of each matrix replaces its gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from .._base import checks as _checks
from .._base.rules import adjustment
from ._base import FusedOptimizer
from ._state import Tensor


class CheckedOptions(torch.optim.Muon):
    """torch's Muon, but parameters without two axes are not refused, because a group may have an option for them."""

    def __init__(self, params: Any, *args: Any, **options: Any) -> None:
        own = {name: options.pop(name) for name in tuple(options) if name not in _TORCHS}
        defaults = torch.optim.Muon([torch.zeros(1, 1)], *args, **options).defaults | own
        torch.optim.Optimizer.__init__(self, params, defaults)


_TORCHS = ("lr", "weight_decay", "momentum", "nesterov", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn")


class OrthogonalSteps(FusedOptimizer):
    """Muon's work before and after the fused step."""

    #: Options of a group that the optimizers for arrays do not have.
    own_extras = ("flatten", "ns_dtype")

    @classmethod
    def check_group(cls, optimizer: torch.optim.Optimizer, k: int) -> None:
        """Raise if a parameter of the group is not a whole matrix and the group has no option for it."""
        group, label = optimizer.param_groups[k], cls.__name__
        flatten = _checks.flag(f"{label}: param_groups[{k}]: flatten", group.get("flatten", False))
        dtype = group.get("ns_dtype")
        if dtype is not None and (not isinstance(dtype, torch.dtype) or not dtype.is_floating_point):
            raise TypeError(f"{label}: param_groups[{k}]: ns_dtype must be a floating-point dtype; got {dtype!r}")
        names = group.get("param_names", [""] * len(group["params"]))
        for i, (p, name) in enumerate(zip(group["params"], names, strict=True)):
            what = f"{label}: param_groups[{k}]: params[{i}]" + (f' ("{name}")' if name else "")
            if p.is_complex():
                raise RuntimeError(f"{what}: Muon does not support complex parameters; got {p.dtype}")
            if not group.get("adamw"):
                _require_matrix(what, p, flatten)
        super().check_group(optimizer, k)

    def _step(self, closure: Callable[[], Any] | None = None, *, grad_norm: float | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        members, scale = self._members(), self.__dict__.get("grad_scale")
        scale = 1.0 if scale is None else float(scale)
        if grad_norm is None and (self.clip_norm is not None or self.skip_nonfinite):
            grad_norm = float(torch.nn.utils.get_total_norm([p.grad for _, p in members if p.grad is not None])) / scale
        factor = 1.0
        if self.clip_norm is not None and grad_norm is not None:
            coefficient = self.clip_norm / (float(grad_norm) + 1e-6)
            factor = 1.0 if coefficient > 1 else coefficient  # nan stays nan

        def fused() -> bool:
            before = self._info
            FusedOptimizer._step(self, grad_norm=grad_norm)
            return self._info is not before and self._info is not None and not self._info.skipped

        self._around(members, factor / scale, fused)
        return loss

    def step_one(self, p: Tensor) -> None:
        """Update one parameter; see `step_in_backward`."""
        if self.skip_nonfinite and p.grad is not None and not bool(torch.isfinite(p.grad).all()):
            return

        def fused() -> bool:
            FusedOptimizer.step_one(self, p)
            return True

        self._around([m for m in self._members() if m[1] is p], 1.0, fused)

    def _members(self) -> list[tuple[Mapping[str, Any], Tensor]]:
        return [(group, p) for group in self.param_groups for p in group["params"] if p.grad is not None]

    @torch.no_grad()
    def _around(
        self, members: list[tuple[Mapping[str, Any], Tensor]], factor: float, fused: Callable[[], bool]
    ) -> None:
        """Step with directions in place of gradients, then restore the gradients. If it stepped, update the momentum.

        The fused step multiplies gradients by `factor`. So the directions are divided by it first.
        """
        bound = self.clip_value
        kept: dict[Tensor, Tensor] = {}
        moved: dict[Tensor, Tensor] = {}
        try:
            for group, p in members:
                g = p.grad
                if g is None or (group.get("adamw") and bound is None) or not _is_supported(p, g):
                    continue  # AdamW's gradient stays; the fused step refuses an unsupported one
                kept[p], g = g, g if factor == 1 else g * factor
                g = g if bound is None else g.clamp(-bound, bound)
                if not group.get("adamw"):
                    moved[p], g = _direction(g, self.state.get(p, {}).get("momentum_buffer"), group)
                if factor != 1:
                    g = g / factor if factor else torch.zeros_like(g)
                p.grad = g.to(p.dtype)
            self.clip_value = None
            stepped = fused()
        finally:
            self.clip_value = bound
            for p, g in kept.items():
                p.grad = g
        if stepped:
            for p, buffer in moved.items():
                self.state[p]["momentum_buffer"].copy_(buffer)
        if self.zero_grads and kept:
            torch._foreach_zero_(list(kept.values()))


def _require_matrix(what: str, p: Tensor, flatten: bool) -> None:
    """Raise unless a parameter is a matrix and not a shard of one."""
    if hasattr(p, "placements") and any(placement.is_shard() for placement in p.placements):
        raise ValueError(
            f"{what} must be whole to be orthogonalised; got a shard of a DTensor (give its group adamw=True)"
        )
    if p.ndim != 2 and not (flatten and p.ndim > 2):
        hint = "flatten=True merges the axes after the first" if p.ndim > 2 else "a flattened shard is not a matrix"
        raise ValueError(
            f"{what}: Muon only supports 2D parameters; got a parameter of size {tuple(p.shape)} "
            f"({hint}; a group with adamw=True is stepped by AdamW)"
        )


def _is_supported(p: Tensor, g: Tensor) -> bool:
    return g.layout == torch.strided and g.shape == p.shape and g.device == p.device and g.device.type == "cpu"


def _direction(g: Tensor, buffer: Tensor | None, group: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Return the next momentum buffer, and the orthogonalised momentum times the adjustment of the rate."""
    momentum, lr_fn = group["momentum"], group["adjust_lr_fn"]
    moved = (torch.zeros_like(g) if buffer is None else buffer.to(g.dtype)).lerp(g, 1 - momentum)
    update = g.lerp(moved, momentum) if group["nesterov"] else moved
    matrix = update.flatten(1)
    if matrix.numel() == 0:
        return moved, update
    dtype = group.get("ns_dtype") or torch.promote_types(g.dtype, torch.float32)
    found = orthogonalised(matrix.to(dtype), group["ns_coefficients"], group["ns_steps"], group["eps"])
    return moved, found.to(g.dtype).mul_(adjustment(lr_fn, *matrix.shape)).reshape(g.shape)


def orthogonalised(x: Tensor, coefficients: Iterable[float], steps: int, eps: float) -> Tensor:
    """Return about U V^T of a matrix x = U S V^T, by Newton-Schulz iterations in its own type."""
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
