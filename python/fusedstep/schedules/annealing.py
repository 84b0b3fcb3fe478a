"""Cosine annealing, cosine with restarts, and a linear warm-up before any schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ._check import as_float, integer, real, step_number


def _cosine(lr: float, min_lr: float, fraction: float) -> float:
    return min_lr + 0.5 * (lr - min_lr) * (1.0 + math.cos(math.pi * fraction))


def _check_floor(schedule: str, lr: float, min_lr: float) -> None:
    real(schedule, "lr", lr)
    real(schedule, "min_lr", min_lr)
    if min_lr > lr:
        raise ValueError(f"{schedule}: min_lr must be at most lr ({lr!r}); got {min_lr!r}")


@dataclass(frozen=True)
class Cosine:
    """``eta(t) = min_lr + (lr - min_lr) / 2 * (1 + cos(pi * min(t - 1, T) / T))``, T = total_steps."""

    lr: float
    total_steps: int
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        _check_floor("cosine", self.lr, self.min_lr)
        integer("cosine", "total_steps", self.total_steps)

    def __call__(self, t: int) -> float:
        done = min(step_number(t) - 1, self.total_steps)
        return _cosine(self.lr, self.min_lr, done / self.total_steps)


class Cycle(NamedTuple):
    """The position of a step in a schedule with cycles.

    Attributes
    ----------
    number : int
        The number of the cycle, from 0.
    position : int
        The number of the step in its cycle, from 1.
    length : int
        The length of the cycle in steps.
    """

    number: int
    position: int
    length: int


@dataclass(frozen=True)
class CosineRestarts:
    """Cosine from ``lr`` to ``min_lr`` over cycles of ``cycle_steps * multiplier ** i`` steps."""

    lr: float
    cycle_steps: int
    multiplier: int = 1
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        _check_floor("cosine_restarts", self.lr, self.min_lr)
        integer("cosine_restarts", "cycle_steps", self.cycle_steps)
        integer("cosine_restarts", "multiplier", self.multiplier)

    def cycle(self, t: int) -> Cycle:
        """Return the cycle of step t, in exact integer arithmetic."""
        position, length, number = step_number(t) - 1, self.cycle_steps, 0
        if self.multiplier == 1:
            number, position = divmod(position, length)
        else:
            while position >= length:
                position, length, number = position - length, length * self.multiplier, number + 1
        return Cycle(number, position + 1, length)

    def ends_cycle(self, t: int) -> bool:
        """Return True if step t is the last of its cycle. Then a snapshot ensemble copies the weights."""
        _, position, length = self.cycle(t)
        return position == length

    def __call__(self, t: int) -> float:
        _, position, length = self.cycle(t)
        return _cosine(self.lr, self.min_lr, (position - 1) / length)


@dataclass(frozen=True)
class Warmup:
    """``eta(t) = schedule(1) * t / (steps + 1)`` for t <= steps, then ``schedule(t - steps)``."""

    schedule: Callable[[int], float]
    steps: int

    def __post_init__(self) -> None:
        if not callable(self.schedule):
            raise TypeError(f"warmup: schedule must be a function of the step; got {self.schedule!r}")
        integer("warmup", "steps", self.steps, least=0)

    def __call__(self, t: int) -> float:
        n = step_number(t)
        if n > self.steps:
            return self.schedule(n - self.steps)
        return self.schedule(1) * (as_float(n) / as_float(self.steps + 1))


def cosine(lr: float, total_steps: int, min_lr: float = 0.0) -> Cosine:
    """Half a cosine from ``lr`` down to ``min_lr``, which is kept afterwards.

    ``eta(t) = min_lr + (lr - min_lr) / 2 * (1 + cos(pi * min(t - 1, T) / T))`` with T = ``total_steps``
    (Loshchilov and Hutter 2017, SGDR, eq. 5, one cycle). The last of T steps still has a small rate above
    ``min_lr``, as in torch's ``CosineAnnealingLR``; unlike torch's, the rate does not rise again after T.

    Parameters
    ----------
    lr : float
        Rate of step 1, >= 0.
    total_steps : int
        Number of steps of the descent, >= 1.
    min_lr : float
        Rate after the descent, in [0, lr].

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> eta = cosine(1.0, total_steps=100)
    >>> eta(1), round(eta(51), 12), eta(101), eta(10**9)
    (1.0, 0.5, 0.0, 0.0)
    """
    return Cosine(lr, total_steps, min_lr)


def cosine_restarts(lr: float, cycle_steps: int, multiplier: int = 1, min_lr: float = 0.0) -> CosineRestarts:
    """Cosine descents, each followed by a jump back to ``lr`` (SGDR; the cycles of snapshot ensembles).

    ``eta(t) = min_lr + (lr - min_lr) / 2 * (1 + cos(pi * p / T_i))`` with p the steps done in the current
    cycle and ``T_i = cycle_steps * multiplier ** i``. Loshchilov and Hutter (2017); Huang et al. (2017).
    The result's ``ends_cycle(t)`` is True for the last step of each cycle, and ``cycle(t)`` is the position of a step.

    Parameters
    ----------
    lr : float
        Rate at the start of every cycle, >= 0.
    cycle_steps : int
        Length of the first cycle in steps, >= 1.
    multiplier : int
        Each cycle is this many times as long as the one before, >= 1.
    min_lr : float
        Rate at the end of a cycle, in [0, lr].

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> eta = cosine_restarts(1.0, cycle_steps=10, multiplier=2)
    >>> eta(1), eta(11), eta(31)
    (1.0, 1.0, 1.0)
    >>> [t for t in range(1, 80) if eta.ends_cycle(t)]
    [10, 30, 70]
    """
    return CosineRestarts(lr, cycle_steps, multiplier, min_lr)


def warmup(schedule: Callable[[int], float], steps: int) -> Warmup:
    """Raise the rate linearly to the first rate of ``schedule``, then follow the schedule from its step 1.

    ``eta(t) = schedule(1) * t / (steps + 1)`` for t <= steps and ``schedule(t - steps)`` afterwards, so that
    no step has the rate 0 and step ``steps + 1`` is the first at full rate (Goyal et al. 2017).

    Parameters
    ----------
    schedule : callable
        Any function of the step.
    steps : int
        Number of steps of the increase, >= 0 (0 changes nothing).

    Raises
    ------
    ValueError, TypeError
        If an argument is outside its range or ``schedule`` cannot be called.

    Examples
    --------
    >>> from fusedstep.schedules import constant
    >>> eta = warmup(constant(1.0), steps=3)
    >>> [eta(t) for t in range(1, 6)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    return Warmup(schedule, steps)
