"""The state of torch's optimizers: made as torch makes it, and bound to a plan of the kernels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from .. import _core
from .._base.rules import RULES
from .._core import StepInfo
from ._options import Settings, settings

if TYPE_CHECKING:
    from ._base import FusedOptimizer

Tensor = torch.Tensor


class Member(NamedTuple):
    """A parameter of a plan, its place in the optimizer, and its name."""

    param: Tensor
    group: int
    name: str


class Binding:
    """A plan of the kernels over an optimizer's parameters, or over one of them."""

    def __init__(self, opt: FusedOptimizer, only: Tensor | None = None) -> None:
        self.opt, self.kernel = opt, opt.kernel
        self.label = type(opt).__name__
        groups = list(opt.param_groups)
        self.members: list[Member] = []
        idle = []
        for k, p, name in _unique(groups):
            if only is None or p is only:
                if p.requires_grad or p.grad is not None:
                    self.members.append(Member(p, k, name))
                else:
                    idle.append(p)
        # The plan keeps what it sees of groups and options. They are read after that: a change in between is noticed.
        self.plan = _core.plan_of_tensors(
            self.label,
            self.kernel.rule,
            Tensor,
            torch.autograd.graph.increment_version,
            opt.param_groups,
            groups,
            opt.state,
            [m.param for m in self.members],
            idle,
            only is not None,
            [m.name for m in self.members],
            [m.group for m in self.members],
            opt.ema_decay,
        )
        self._set_options(self._settings())
        self.attached: set[int] = set()
        self.attach(create=False)

    def _settings(self) -> list[Settings]:
        groups = enumerate(list(self.opt.param_groups))
        return [settings(self.kernel, group, f"{self.label}: param_groups[{k}]: ") for k, group in groups]

    def _set_options(self, groups: list[Settings]) -> None:
        self.groups = groups
        for k, group in enumerate(groups):
            self.plan.set_group(k, (group.variant, group.hyper, 0.0, *group[2:]))

    def _catch_up(self) -> bool:
        """Follow options that were changed, and give states to those that lack them; False if more has changed.

        Schedules of momentum change options at every step.
        """
        if not self.plan.follow_options():
            return False
        groups = self._settings()
        if [g.variant for g in groups] != [g.variant for g in self.groups]:
            return False
        self._set_options(groups)
        self.attach(create=True)
        return True

    @torch.no_grad()
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
            taken = 0 if entry is None else self._complete(k, m, entry)
            self.plan.attach(k, entry, taken)
            self.attached.add(k)
        self.plan.settle()

    def step(self, *arguments: Any) -> StepInfo | None:
        """Step; None if the optimizer is no longer what was bound. See `_core.Plan.step` for the arguments."""
        info = self.plan.step(None, None, *arguments)
        if info is None and self._catch_up():
            info = self.plan.step(None, None, *arguments)
        return info

    def _names(self, m: Member) -> list[str]:
        return RULES[self.kernel.rule].state_names(self.groups[m.group].variant)

    def _is_stateless(self, m: Member) -> bool:
        return not (self._names(m) or self.opt.counts_steps or self.opt.ema_decay is not None)

    def _complete(self, k: int, m: Member, entry: dict[str, Any]) -> int:
        """Make what a parameter's state lacks, and return how many steps it has seen, as far as it tells."""
        where = f"{self.label}: state of params[{k}]" + (f' ("{m.name}")' if m.name else "")
        names, rule = self._names(m), RULES[self.kernel.rule]
        steps = _scalar(where, entry, "step", 0.0) if self.opt.counts_steps else None
        if steps is not None:
            _check_count(where, steps)
        taken = 1 if all(entry.get(name) is not None for name in names) else 0
        if steps is not None and steps.item() == 0:
            taken = 0
        for name, initial in rule.scalars:
            _scalar(where, entry, name, initial)
        for name in names:
            if entry.get(name) is None:
                if steps is not None and steps.item() > 0:
                    raise ValueError(f"{where} must have {name!r} after {steps.item():.0f} steps; got {list(entry)}")
                start = self.kernel._initial_state(name, self.opt.param_groups[m.group])
                entry[name] = torch.full_like(m.param, start, requires_grad=False)
            _lay_like(f"{where}[{name!r}]", m.param, entry, name, m.param.dtype)
        if self.opt.ema_decay is not None:
            dtype = torch.promote_types(m.param.dtype, torch.float32)  # in 16 bits an average would stand still
            if "ema" not in entry:
                entry["ema"] = torch.empty_like(m.param, dtype=dtype, requires_grad=False).copy_(m.param.detach())
            _lay_like(f"{where}['ema']", m.param, entry, "ema", dtype)
        return taken


def _unique(groups: list[dict[str, Any]]) -> Iterator[tuple[int, Tensor, str]]:
    """Yield every parameter once, with its group and its name."""
    seen = set()
    for k, group in enumerate(groups):
        params = list(group["params"])
        names = group.get("param_names", [""] * len(params))
        for p, name in zip(params, names, strict=True):
            if id(p) not in seen:
                seen.add(id(p))
                yield k, p, name


def _scalar(where: str, entry: dict[str, Any], name: str, initial: float) -> Tensor:
    """Return a scalar state in the form that torch 2.13 has and older checkpoints may lack."""
    dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32
    value = entry.get(name, initial)
    if not isinstance(value, Tensor):
        value = torch.tensor(float(value), dtype=dtype, device="cpu")
    elif value.device.type != "cpu" or value.dtype not in (torch.float32, torch.float64):
        value = value.to("cpu", dtype)
    if value.numel() != 1:
        need = "a count of steps" if name == "step" else "one number"
        raise ValueError(f"{where}[{name!r}] must be {need}; got {entry[name]!r}")
    entry[name] = value
    return value


def _check_count(where: str, steps: Tensor) -> None:
    if not 0 <= steps.item() < 2**53 or steps.item() % 1:
        raise ValueError(f"{where}['step'] must be a count of steps; got {steps!r}")


def _lay_like(what: str, target: Tensor, entry: dict[str, Any], name: str, dtype: torch.dtype) -> None:
    """Check a state, and lay it out in memory as its parameter where it has another layout."""
    value = entry[name]
    if not isinstance(value, Tensor) or value.shape != target.shape or value.dtype != dtype:
        need = f"{dtype} {tuple(target.shape)}"
        got = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise ValueError(f"{what} must be {need}; got {got}")
    like = torch.empty_like(target, dtype=dtype, device="meta")
    if value.stride() != like.stride() or value.device != target.device or value.requires_grad:
        entry[name] = torch.empty_like(target, dtype=dtype, requires_grad=False).copy_(value.detach())
