"""Checks of the schedules' arguments. Each error names the schedule, the argument, what it must be and what it was."""

from __future__ import annotations

import math
import operator

_LARGEST_EXACT = 1 << 1000  # larger integers may be too large for a float; `as_float` converts this one instead


def step_number(t: int) -> int:
    """Return t, the number of a step, as a Python integer. Refuse numbers below 1."""
    try:
        n = operator.index(t)
    except TypeError:
        raise TypeError(f"schedule: t must be the number of a step, an integer >= 1; got {t!r}") from None
    if n < 1:
        raise ValueError(f"schedule: t must be an integer >= 1; got {n}")
    return n


def as_float(n: int) -> float:
    """Return n as a float. If n is above 2^1000, return 2^1000, so that the conversion cannot overflow."""
    return float(min(n, _LARGEST_EXACT))


def integer(schedule: str, name: str, value: object, least: int = 1) -> None:
    """Require that the argument `name` of a schedule is an integer of at least `least`. Refuse True and False."""
    if not _is_integer(value, least):
        raise ValueError(f"{schedule}: {name} must be an integer >= {least}; got {value!r}")


def real(schedule: str, name: str, value: float, *, low: float = 0.0, high: float = math.inf) -> None:
    """Require that the argument `name` of a schedule is a finite number in [low, high]."""
    need = f"a finite number >= {low:g}" if math.isinf(high) else f"a number in [{low:g}, {high:g}]"
    if not _is_real(value) or not low <= value <= high:
        raise ValueError(f"{schedule}: {name} must be {need}; got {value!r}")


def positive(schedule: str, name: str, value: float, *, high: float = math.inf) -> None:
    """Require that the argument `name` of a schedule is a finite number in (0, high]."""
    need = "a finite number > 0" if math.isinf(high) else f"a number in (0, {high:g}]"
    if not _is_real(value) or not 0.0 < value <= high:
        raise ValueError(f"{schedule}: {name} must be {need}; got {value!r}")


def _is_integer(value: object, least: int) -> bool:
    if isinstance(value, bool):
        return False
    try:
        return operator.index(value) >= least  # type: ignore[arg-type]
    except TypeError:
        return False


def _is_real(value: object) -> bool:
    if isinstance(value, bool) or not hasattr(value, "__float__") or isinstance(value, (str, bytes)):
        return False
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError):
        return False
