"""The compiled rules, which are the formulas of the optimizers: their variants, hyperparameters and states."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from .. import _core

NARROW = ("bfloat16", "uint8")


def require_width(where: str, group: Mapping[str, Any], is_double: bool, element_wise: bool) -> None:
    """Raise an error if a group's parameters or its optimizer do not allow the group's `state_dtype` or `rounding`.

    `where` is the beginning of the error message. `is_double` is True if the group has float64
    parameters. `element_wise` is True if the optimizer's update of an element does not depend on other elements.
    """
    width, way = group.get("state_dtype"), group.get("rounding")
    if is_double and width:
        raise ValueError(
            f"{where}state_dtype must be None for float64 parameters, whose steps are computed in float64; "
            f"got {width!r}"
        )
    if is_double and way == "stochastic":
        raise ValueError(f'{where}rounding must be "nearest" or None for float64 parameters; got "stochastic"')
    if width in NARROW and not element_wise:
        raise ValueError(
            f'{where}state_dtype must be "float32" or None, because the update of an element depends on other '
            f"elements; got {width!r}"
        )


class Rule(NamedTuple):
    """The data of a rule, which is the formula of an optimizer. The header in csrc/rules defines these data.

    A rule has variants. Bit k of a variant's number is 1 if the option ``variants[k]`` is on. `hyper` contains the
    names of the hyperparameters. `states` contains for each state: its name, a bit mask, and True if the state is never
    negative. The state exists in the variants whose numbers have all bits of the mask. `scalars` contains the name and
    the initial value of each number that the rule keeps for a tensor.
    """

    variants: tuple[str, ...]
    hyper: tuple[str, ...]
    states: list[tuple[str, int, bool]]
    scalars: list[tuple[str, float]]

    def variant(self, group: Mapping[str, Any]) -> int:
        """Return the number of the variant: bit k is 1 if the group's option ``variants[k]`` is on."""
        return sum(1 << k for k, name in enumerate(self.variants) if group.get(name))

    def state_names(self, variant: int) -> list[str]:
        """Return the names of the states that exist in a variant."""
        return [name for name, needs, _ in self.states if variant & needs == needs]

    def is_positive(self, state: str) -> bool:
        """Return True if a state is never negative. Such a state has other 8-bit codes than a state with a sign."""
        return any(positive for name, _, positive in self.states if name == state)

    def hyper_values(self, options: Mapping[str, Any], group: Mapping[str, Any]) -> list[float]:
        """Return the group's values of the hyperparameters, in the kernel's order."""
        known: dict[str, Any] = {}
        for name, option in options.items():
            known |= option.in_kernel(name, group) if name in group else {}
        return [float(known.get(name, 0.0)) for name in self.hyper]


RULES: dict[str, Rule] = {name: Rule(*fields) for name, fields in _core.rules().items()}


def adjustment(name: str | None, rows: int, columns: int) -> float:
    """Return the factor of a matrix's learning rate. `name` is the option `adjust_lr_fn` of `fusedstep.Muon`."""
    return 0.2 * math.sqrt(max(rows, columns)) if name == "match_rms_adamw" else math.sqrt(max(1.0, rows / columns))


def check_rows(label: str, takes: bool, group: Mapping[str, Any], has_averages: bool) -> None:
    """Refuse a gradient that contains only some rows, if the optimizer or one of its options does not support this.

    `takes` is True if the class of the optimizer accepts such gradients. `has_averages` is True if the optimizer has
    the option `ema_decay`.
    """
    names = ("weight_decay", "l1", "momentum", "state_dtype")
    given = [f"{name}={group[name]!r}" for name in names if group.get(name)] + ["ema_decay"] * has_averages
    if not takes or given:
        unless = "the optimizer is SGD, Adagrad, RowwiseAdagrad or SparseAdam"
        when = f"if the optimizer has {', '.join(given)}" if takes else f"unless {unless}"
        raise ValueError(f"{label} must be dense {when}; got Rows or a sparse tensor")
