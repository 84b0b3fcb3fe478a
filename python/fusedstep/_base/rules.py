"""A compiled rule as Python sees it: which options it has as variants, hyperparameters and states."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import _core


class Rule(NamedTuple):
    """What csrc/rules/NAME.h says of itself."""

    variants: tuple[str, ...]
    hyper: tuple[str, ...]
    states: list[tuple[str, int]]
    scalars: list[tuple[str, float]]

    def variant(self, group: Mapping[str, Any]) -> int:
        """Return the kernel's variant: bit k is set where the option named like it is on."""
        return sum(1 << k for k, name in enumerate(self.variants) if group.get(name))

    def state_names(self, variant: int) -> list[str]:
        """Return the names of the states that exist in a variant."""
        return [name for name, needs in self.states if variant & needs == needs]

    def hyper_values(self, options: Mapping[str, Any], group: Mapping[str, Any]) -> list[float]:
        """Return the group's values of the hyperparameters, in the kernel's order."""
        known: dict[str, Any] = {}
        for name, option in options.items():
            known |= option.in_kernel(name, group) if name in group else {}
        return [float(known.get(name, 0.0)) for name in self.hyper]


RULES: dict[str, Rule] = {name: Rule(*fields) for name, fields in _core.rules().items()}


def adjustment(name: str | None, rows: int, columns: int) -> float:
    """Return what the learning rate of a matrix is multiplied by; see `fusedstep.Muon`."""
    return 0.2 * math.sqrt(max(rows, columns)) if name == "match_rms_adamw" else math.sqrt(max(1.0, rows / columns))


def check_rows(label: str, takes: bool, group: Mapping[str, Any], has_averages: bool) -> None:
    """Refuse rows where a step would have to change all the others too."""
    wanted = {name: group[name] for name in ("weight_decay", "l1", "momentum") if group.get(name)}
    if has_averages:
        wanted["ema_decay"] = "given"
    if not takes or wanted:
        need = "no optimizer but SGD, Adagrad and SparseAdam" if not takes else f"no {', '.join(wanted)}"
        raise ValueError(f"{label}: rows and sparse gradients go with {need}; got {wanted or 'one'}")
