"""The state of torch's optimizers: made as torch makes it, and bound to a plan of the kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from .. import _core
from .._base.rules import RULES
from ._options import Settings, settings

if TYPE_CHECKING:
    from ._base import FusedOptimizer

Tensor = torch.Tensor
_DONE, _STALE, _NEEDS_STATE = 0, 1, 2  # outcomes of TensorPlan.step; stale: what is bound has changed


class Member:
    """A parameter of a plan: its place in the optimizer, and the tensor that is written (itself or a stand-in)."""

    def __init__(self, param: Tensor, target: Tensor, group: int, name: str) -> None:
        self.param, self.target, self.group, self.name = param, target, group, name


class Binding:
    """A plan of the kernels over an optimizer's parameters, or over one of them."""

    def __init__(self, opt: FusedOptimizer, only: Tensor | None = None) -> None:
        self.opt, self.kernel = opt, opt.kernel
        self.label = type(opt).__name__
        self.groups = self._settings()
        self.members: list[Member] = []
        idle = []
        for k, p, name in _unique(opt):
            if only is None or p is only:
                if p.requires_grad or p.grad is not None:
                    self.members.append(Member(p, p, k, name))
                else:
                    idle.append(p)
        self._replace_those_with_gaps()
        self.plan = _core.TensorPlan(
            self.label,
            self.kernel.rule,
            Tensor,
            torch.autograd.graph.increment_version,
            opt.param_groups,
            opt.state,
            [m.param for m in self.members],
            [m.target for m in self.members],
            idle,
            [m.name for m in self.members],
            [m.group for m in self.members],
            1.0 if opt.ema_decay is None else opt.ema_decay,
        )
        for k, group in enumerate(self.groups):
            self.plan.set_group(k, *group)
        self.attached: set[int] = set()
        self.attach(create=False)

    def _settings(self) -> list[Settings]:
        return [
            settings(self.kernel, group, f"{self.label}: param_groups[{k}]: ")
            for k, group in enumerate(self.opt.param_groups)
        ]

    def _take_options(self) -> bool:
        """Follow options that were changed, as schedules of momentum do at every step; False if more has changed."""
        groups = self._settings()
        if [g.variant for g in groups] != [g.variant for g in self.groups] or not self.plan.watch_options():
            return False
        self.groups = groups
        for k, group in enumerate(groups):
            self.plan.set_group(k, *group)
        return True

    def _replace_those_with_gaps(self) -> None:
        """Give a dense tensor to work on to every parameter that is a view with gaps between its elements."""
        dense = _core.check_tensors(self.label, Tensor, [m.param for m in self.members], [m.name for m in self.members])
        self.stand_ins = [m for m, is_dense in zip(self.members, dense, strict=True) if not is_dense]
        for m in self.stand_ins:
            m.target = torch.empty_like(m.param, requires_grad=False)

    def attach(self, create: bool) -> None:
        """Bind the state that there is; with `create`, also of parameters that have a gradient and no state yet."""
        for k, m in enumerate(self.members):
            if k in self.attached:
                continue
            entry = self.opt.state.get(m.param)
            if not (entry or self._is_stateless(m)):
                if not (create and m.param.grad is not None):
                    continue
                entry = self.opt.state[m.param]
            self._attach(k, m, {} if entry is None else entry)
            self.attached.add(k)
        self.plan.watch()

    @torch.no_grad()
    def step(self, clip_norm: float | None, grad_scale: float, zero_grads: bool, num_threads: int | None) -> bool:
        """Step; False if the optimizer is no longer what was bound."""
        for m in self.stand_ins:
            m.target.copy_(m.param)
        outcome = self.plan.step(clip_norm, grad_scale, zero_grads, num_threads)
        if outcome == _STALE and self._take_options():
            outcome = self.plan.step(clip_norm, grad_scale, zero_grads, num_threads)
        if outcome == _NEEDS_STATE:
            self.attach(create=True)
            outcome = self.plan.step(clip_norm, grad_scale, zero_grads, num_threads)
        if outcome != _DONE:
            return False
        for m in self.stand_ins:
            if m.param.grad is not None:
                m.param.copy_(m.target)
        return True

    def _names(self, m: Member) -> list[str]:
        return RULES[self.kernel.rule].state_names(self.groups[m.group].variant)

    def _is_stateless(self, m: Member) -> bool:
        return not (self._names(m) or self.opt.counts_steps or self.opt.ema_decay is not None)

    def _attach(self, k: int, m: Member, entry: dict[str, Any]) -> None:
        where = f"{self.label}: state of params[{k}]" + (f' ("{m.name}")' if m.name else "")
        steps = _step_tensor(where, entry) if self.opt.counts_steps else None
        names = self._names(m)
        taken = 1 if all(entry.get(name) is not None for name in names) else 0
        if steps is not None and steps.item() == 0:
            taken = 0
        states: list[Tensor | None] = []
        for name, _ in RULES[self.kernel.rule].states:
            if name not in names:
                states.append(None)
                continue
            if entry.get(name) is None:
                if steps is not None and steps.item() > 0:
                    raise ValueError(f"{where} must have {name!r} after {steps.item():.0f} steps; got {list(entry)}")
                start = self.kernel._initial_state(name, self.opt.param_groups[m.group])
                entry[name] = torch.full_like(m.target, start, requires_grad=False)
            states.append(_like(f"{where}[{name!r}]", m.target, entry, name, m.target.dtype))
        average = None
        if self.opt.ema_decay is not None:
            dtype = torch.promote_types(m.target.dtype, torch.float32)  # in 16 bits an average would stand still
            if "ema" not in entry:
                entry["ema"] = torch.empty_like(m.target, dtype=dtype, requires_grad=False).copy_(m.param.detach())
            average = _like(f"{where}['ema']", m.target, entry, "ema", dtype)
        self.plan.attach(k, states, steps, taken, average)


def _unique(opt: FusedOptimizer) -> Iterator[tuple[int, Tensor, str]]:
    """Yield every parameter once, with its group and its name."""
    seen = set()
    for k, group in enumerate(opt.param_groups):
        names = group.get("param_names", [""] * len(group["params"]))
        for p, name in zip(group["params"], names, strict=True):
            if id(p) not in seen:
                seen.add(id(p))
                yield k, p, name


def _step_tensor(where: str, entry: dict[str, Any]) -> Tensor:
    """Return the counter of a parameter's steps, in the form that torch 2.13 has and older checkpoints may lack."""
    dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
    step = entry.get("step", 0.0)
    if not isinstance(step, Tensor):
        step = torch.tensor(float(step), dtype=dtype, device="cpu")
    elif step.device.type != "cpu" or step.dtype not in (torch.float32, torch.float64):
        step = step.to("cpu", dtype)
    if step.numel() != 1 or not 0 <= step.item() < 2**53 or step.item() % 1:
        raise ValueError(f"{where}['step'] must be a count of steps; got {entry['step']!r}")
    entry["step"] = step
    return step


def _like(what: str, target: Tensor, entry: dict[str, Any], name: str, dtype: torch.dtype) -> Tensor:
    """Return a state that lies in memory as its parameter does; what has another layout is laid out anew."""
    value = entry[name]
    if not isinstance(value, Tensor) or value.shape != target.shape or value.dtype != dtype:
        need = f"{dtype} {tuple(target.shape)}"
        got = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise ValueError(f"{what} must be {need}; got {got}")
    if value.stride() != target.stride() or value.device != target.device or value.requires_grad:
        value = torch.empty_like(target, dtype=dtype, requires_grad=False).copy_(value.detach())
        entry[name] = value
    return value
