"""Checks the options of torch's parameter groups, and converts them into the arguments of the kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

from .. import optim
from .._base import checks
from .._base.rules import RULES, require_width

#: Options of a group that must be False, and the reason for each.
_REFUSED = {
    "capturable": "a step on the CPU is not part of a CUDA graph",
    "differentiable": "autograd does not pass through a fused step",
}


class Settings(NamedTuple):
    """The options of a group. Those before `values` are arguments of `_core.Plan.set_group`."""

    variant: int
    hyper: list[float]
    weight_decay: float
    l1: float
    decay: str
    maximize: bool
    state_dtype: str
    rounding: str
    values: Mapping[str, Any]  # all options by name, with the defaults of missing ones

    @property
    def is_random(self) -> bool:
        """True if steps use stochastic rounding. The random bits then depend on the number of the step."""
        return self.rounding == "stochastic" or (self.rounding == "" and self.state_dtype in ("bfloat16", "uint8"))


@cache
def defaults_of(kernel: Any) -> dict[str, Any]:
    """Return the default values of the options of a group."""
    group = kernel([np.zeros((1, 1))]).groups[0]
    return {name: value for name, value in group.items() if name != "params"}


def completed(kernel: type[optim.Optimizer], group: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a group. An option that is missing or None gets its default, as in a step."""
    defaults: dict[str, Any] = defaults_of(kernel)  # type: ignore[arg-type]  # classes are hashable
    return defaults | {name: value for name, value in group.items() if value is not None}


def _plain(value: Any) -> Any:
    """Convert a tensor with one element to a number, and a dtype to its name."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.item()
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return tuple(_plain(v) for v in value) if isinstance(value, (tuple, list)) else value


def values_of(kernel: type[optim.Optimizer], group: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check the options of a torch optimizer's group, and return them. Missing options get their defaults."""
    group = dict(group)  # another thread may change the group
    for name, reason in _REFUSED.items():
        if group.get(name):
            raise ValueError(f"{where}{name} must be False ({reason}); got {group[name]!r}")
    values = dict(defaults_of(kernel))  # type: ignore[arg-type]  # classes are hashable
    if "decoupled_weight_decay" in group:
        values["decay"] = "decoupled" if group["decoupled_weight_decay"] else "l2"
    for name, option in kernel.options.items():
        if option.of_groups and group.get(name) is not None:
            values[name] = option.check(f"{where}{name}", _plain(group[name]))
    return values


def settings(
    kernel: type[optim.Optimizer], group: Mapping[str, Any], where: str, dtypes: Iterable[torch.dtype]
) -> Settings:
    """Return the options of a group in the kernels' format. `dtypes` are the dtypes of the group's parameters."""
    values, dtypes = values_of(kernel, group, where), set(dtypes)
    if "eps" in values:
        checks.survives(f"{where}eps", values["eps"], (str(d).removeprefix("torch.") for d in dtypes))
    rule = RULES[kernel.rule]
    chosen = Settings(
        variant=kernel._variant(values),
        hyper=rule.hyper_values(kernel.options, values),
        weight_decay=values["weight_decay"],
        l1=values["l1"],
        decay=values["decay"],
        maximize=values["maximize"],
        state_dtype=values["state_dtype"] or "",
        rounding=values["rounding"] or "",
        values=values,
    )
    require_width(where, values, torch.float64 in dtypes, kernel.element_wise)
    return chosen
