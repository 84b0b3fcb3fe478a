"""Bindings: a binding connects an optimizer of fusedstep.torch with a plan, the object that steps its parameters.

A plan (`_core.Plan`) has the addresses of all arrays of the optimizer. One call of a plan steps all parameters. The
optimizer's state has torch's format.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from .. import _core
from .._base.rules import RULES
from .._core import StepInfo
from . import _widths
from ._blocks import first_block, refuse_cut_blocks
from ._options import Settings, settings
from ._ranks import Ranks, Squares, local_of, may_be_shared, placed_alike, placement_of, ranks_of, shard_type

Tensor = torch.Tensor
#: For each parameter, a value that a step uses instead of ``p.grad``. It is a sparse gradient, or a direction that the
#: optimizer has computed from the gradient.
Rows = dict[Tensor, Any]


class Member(NamedTuple):
    """A parameter that a plan steps, the index of its group, and its name."""

    param: Tensor
    group: int
    name: str


class Binding:
    """The plan (`_core.Plan`) that steps the parameters of an optimizer, and the data from which the plan was made.

    If `only` is given, the plan steps only this parameter.
    """

    def __init__(self, opt: Any, only: Tensor | None = None) -> None:
        self.opt, self.kernel = opt, opt.kernel
        self.label = type(opt).__name__
        groups = self.sources = _groups_of(opt)
        self.members: list[Member] = []
        idle, numbers = [], []
        for number, (k, p, name) in enumerate(_unique(groups)):
            if only is None or p is only:
                if p.requires_grad or p.grad is not None:
                    self.members.append(Member(p, k, name))
                    numbers.append((number, first_block(p)))
                else:
                    idle.append(p)
        # The plan records the groups and options before this class reads them. So the plan detects every change that
        # another thread makes after this class has read them.
        self.plan = _core.plan_of_tensors(
            self.label,
            self.kernel.rule,
            Tensor,
            shard_type(),
            torch.autograd.graph.increment_version,
            opt.__dict__,
            groups,
            [m.param for m in self.members],
            idle,
            only is not None,
            [m.name for m in self.members],
            [m.group for m in self.members],
            opt.ema_decay,
            opt.master_weights,
            opt.seed,
            numbers,
        )
        self.ranks = sharing(opt)
        self._set_options(self._settings())
        self.attached: set[int] = set()
        self.attach(create=False)

    def _settings(self) -> list[Settings]:
        dtypes: list[set[torch.dtype]] = [set() for _ in self.sources]
        for m in self.members:
            dtypes[m.group].add(m.param.dtype)
        wheres = [f"{self.label}: param_groups[{k}]: " for k in range(len(self.sources))]
        return [settings(self.kernel, *each) for each in zip(self.sources, wheres, dtypes, strict=True)]

    def _set_options(self, groups: list[Settings]) -> None:
        self.groups = groups
        for k, g in enumerate(groups):
            common = g.weight_decay, g.l1, g.decay, g.maximize
            self.plan.set_group(k, (g.variant, g.hyper, 0.0, *common, g.state_dtype, g.rounding))

    def _catch_up(self) -> bool:
        """Give changed options to the plan, and create missing states. Return False if a new binding is needed instead.

        This method avoids new bindings, because a new binding takes longer than a step. A schedule such as OneCycleLR
        changes options before every step.
        """
        if not self.plan.follow_options():
            return False
        groups = self._settings()
        if [(g.variant, g.state_dtype) for g in groups] != [(g.variant, g.state_dtype) for g in self.groups]:
            return False
        self._set_options(groups)
        self.attach(create=True)
        return True

    @torch.no_grad()
    def attach(self, create: bool) -> None:
        """Add the states of the parameters to the plan.

        If a parameter has a gradient but no states, its states are created only if `create` is True.
        """
        for k, m in enumerate(self.members):
            if k in self.attached:
                continue
            entry = self.opt.state.get(m.param)
            if not (entry or self._is_stateless(m)):
                if not (create and m.param.grad is not None):
                    continue
                entry = self.opt.state.setdefault(m.param, {})
            if not isinstance(entry, dict | None):
                raise TypeError(f"{self.label}: state of params[{k}] must be a dict; got {type(entry).__name__}")
            taken = 0 if entry is None else self._complete(k, m, entry)
            self.plan.attach(k, entry, taken)
            self.attached.add(k)
        self.plan.settle()

    def step(self, *arguments: Any, rows: Rows | None = None) -> StepInfo | None:
        """Take a step. If the optimizer has changed so much that it needs a new binding, take no step and return None.

        For the arguments, see `_core.Plan.step`.
        """
        given = self._rows(rows)
        info = self.plan.step(given, None, *arguments)
        if info is None and self._catch_up():
            info = self.plan.step(given, None, *arguments)
        return info

    def _rows(self, rows: Rows | None) -> list[Any] | None:
        return None if rows is None else [rows.get(m.param) for m in self.members]

    def squares(self, zero_grads: bool, num_threads: int | None, rows: Rows | None) -> list[Squares] | None:
        """Make all checks of a step, and return the sums of squares of this rank's gradients.

        Return None if the optimizer has changed so much that it needs a new `Binding`.
        """
        assert self.ranks is not None
        classes = self.ranks.classes_of([m.param for m in self.members])
        arguments = self._rows(rows), classes, zero_grads, num_threads or 0
        found = self.plan.squares(*arguments)
        return self.plan.squares(*arguments) if found is None and self._catch_up() else found

    def _names(self, m: Member) -> list[str]:
        return RULES[self.kernel.rule].state_names(self.groups[m.group].variant)

    def _is_stateless(self, m: Member) -> bool:
        return not (self._names(m) or self._counts_steps(m) or self.opt.ema_decay is not None or self._keeps_bits(m))

    def _torch_counts(self, m: Member) -> bool:
        return bool(self.opt.counts_steps or self.sources[m.group].get("adamw"))

    def _counts_steps(self, m: Member) -> bool:
        return self._torch_counts(m) or self.groups[m.group].is_random

    def _keeps_bits(self, m: Member) -> bool:
        return self.opt.master_weights and m.param.dtype in _widths.HALVES

    def _complete(self, k: int, m: Member, entry: dict[str, Any]) -> int:
        """Create the missing entries of a parameter's state. Return 0 if the next step is the first step, else 1.

        The new entries are made in a copy of the state, so an error leaves the state unchanged. If another thread adds
        other entries to the state during this call, they are kept.
        """
        before = dict(entry)
        after = dict(before)
        taken = self._complete_copy(k, m, after)
        entry.update({name: value for name, value in after.items() if value is not before.get(name)})
        for name in before.keys() - after.keys():
            entry.pop(name, None)
        return taken

    def _complete_copy(self, k: int, m: Member, entry: dict[str, Any]) -> int:
        where = _widths.Where(self.label, f"params[{k}]" + (f' ("{m.name}")' if m.name else ""))
        names, rule = self._names(m), RULES[self.kernel.rule]
        had_states = all(entry.get(name) is not None for name in names)
        # If torch's optimizer of this name does not count steps, its state has no "step". If such a state has all other
        # entries, at least one step has been taken. So the count begins with 1.
        first = 1.0 if names and had_states and not self._torch_counts(m) else 0.0
        steps = _scalar(where, entry, "step", first, _scalar_dtype()) if self._counts_steps(m) else None
        if self.groups[m.group].state_dtype == "uint8":
            refuse_cut_blocks(f"{where.label}: {where.param}", m.param)
        width = _widths.dtype_of_states(m.param, self.groups[m.group].state_dtype, self.opt.master_weights)
        if steps is not None:
            _check_count(where, steps)
        taken = 1 if had_states else 0
        if steps is not None and steps.item() == 0:
            taken = 0
        dtype = _scalar_dtype() if self.kernel.in_torch else torch.float64
        for name, initial in rule.scalars:
            if _scalar(where, entry, name, initial, dtype).dtype != dtype:
                entry[name] = entry[name].to(dtype)
        self._complete_own(where, m, entry)
        for name in names:
            if entry.get(name) is None:
                if steps is not None and steps.item() > 0:
                    need = f"have {name!r} after {steps.item():.0f} steps, because the options of the group need it"
                    raise ValueError(f"{where} must {need}; got {list(entry)}")
                start = self.kernel._initial_state(name, self.groups[m.group].values)
                _widths.make(entry, name, m.param, width, start, rule)
            else:
                _widths.convert(where, entry, name, m.param, width, rule)
            _lay_like(where.state(name), m.param, entry, name, width)
        if self._keeps_bits(m):
            _widths.keep_bits(where, entry, m.param)
        if self.opt.ema_decay is not None:
            wide = torch.promote_types(m.param.dtype, torch.float32)  # 16 bits would round small changes away
            if "ema" not in entry:
                entry["ema"] = torch.empty_like(m.param, dtype=wide, requires_grad=False).copy_(m.param.detach())
            _lay_like(where.state("ema"), m.param, entry, "ema", wide)
        return taken

    def _complete_own(self, where: _widths.Where, m: Member, entry: dict[str, Any]) -> None:
        for name, shape in self.kernel._own_states(tuple(m.param.shape)).items():
            start = self.kernel._initial_state(name, self.groups[m.group].values)
            entry[name] = _widths.own_state(where.state(name), entry.get(name), shape, m.param.dtype, start)


def _groups_of(opt: Any) -> list[dict[str, Any]]:
    """Return the optimizer's groups. Raise an error if they have wrong types; torch does not check the types."""
    label = type(opt).__name__
    if not isinstance(opt.param_groups, list):
        raise TypeError(f"{label}: param_groups must be a list; got {type(opt.param_groups).__name__}")
    groups = list(opt.param_groups)
    for k, group in enumerate(groups):
        if not isinstance(group, dict) or not isinstance(group.get("params"), list):
            got = type(group.get("params")).__name__ if isinstance(group, dict) else type(group).__name__
            raise TypeError(f"{label}: param_groups[{k}] must be a dict with a list of params; got {got}")
        for p in group["params"]:
            if not isinstance(p, Tensor):
                raise TypeError(f"{label}: param_groups[{k}] must have tensors as params; got {type(p).__name__}")
    return groups


def sharing(opt: Any) -> Ranks | None:
    """Return the ranks among which an optimizer's gradients are divided. Return None if this rank has all gradients."""
    return ranks_of(opt, [p for _, p, _ in _unique(_groups_of(opt))]) if may_be_shared() else None


def _unique(groups: list[dict[str, Any]]) -> Iterator[tuple[int, Tensor, str]]:
    """Yield (index of the group, parameter, name) once for every parameter."""
    seen = set()
    for k, group in enumerate(groups):
        params = list(group.get("params", ()))  # another thread may have removed "params"; `_core` raises the error
        names = [
            *group.get("param_names", []),
            *[""] * len(params),
        ]  # parameters without a name get the name ""
        for p, name in zip(params, names, strict=False):
            if id(p) not in seen:
                seen.add(id(p))
                yield k, p, name


def _scalar_dtype() -> torch.dtype:
    return torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32


def _scalar(where: _widths.Where, entry: dict[str, Any], name: str, initial: float, dtype: torch.dtype) -> Tensor:
    """Return a scalar state as a tensor. If it is a number, as in older checkpoints, replace it by a tensor."""
    value = entry.get(name, initial)
    what = f"{where.state(name)} must be {'a count of steps' if name == 'step' else 'one number'}"
    if not isinstance(value, Tensor):
        try:
            value = torch.tensor(float(value), dtype=dtype, device="cpu")
        except (TypeError, ValueError):
            raise ValueError(f"{what}; got {value!r}") from None
    if value.numel() != 1 or not _widths.has_memory(value):
        raise ValueError(f"{what}; got {_widths.named(value)}")
    if value.device.type != "cpu" or value.dtype not in (torch.float32, torch.float64):
        value = value.to("cpu", dtype)
    entry[name] = value
    return value


def _check_count(where: _widths.Where, steps: Tensor) -> None:
    if not 0 <= steps.item() < 2**53 or steps.item() % 1:
        raise ValueError(f"{where.state('step')} must be a count of steps; got {steps!r}")


def _lay_like(what: str, target: Tensor, entry: dict[str, Any], name: str, dtype: torch.dtype) -> None:
    """Check a state of the parameter `target`. Convert the state to the memory layout of the parameter if needed."""
    value: Any = entry.get(name)  # None if another thread has removed the state
    fits = isinstance(value, Tensor) and value.shape == target.shape and value.dtype == dtype
    if not fits or not _widths.has_memory(value):
        need = f"{dtype} {tuple(target.shape)}{_widths.memory_of(value)}"
        raise ValueError(f"{what} must be {need}; got {_widths.named(value)}")
    if not placed_alike(value, target):
        need, got = placement_of(target), placement_of(value)
        raise ValueError(f"{what} must have the same placements as its parameter, which is {need}; got {got}")
    mine, its = local_of(value), local_of(target)
    like = torch.empty_like(its, dtype=dtype, device="meta")
    if mine.stride() != like.stride() or mine.device != its.device or value.requires_grad:
        entry[name] = torch.empty_like(target, dtype=dtype, requires_grad=False).copy_(value.detach())
