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
    """The schedule that `cosine` returns. Call it with the number t of a step to get the rate of the step.

    Steps are counted from 1. With T = ``total_steps``, the rate of step t is
    ``eta(t) = min_lr + (lr - min_lr) / 2 * (1 + cos(pi * min(t - 1, T) / T))``.
    """

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
        The number of the cycle, counted from 0.
    position : int
        The number of the step within its cycle, counted from 1.
    length : int
        The length of the cycle in steps.
    """

    number: int
    position: int
    length: int


@dataclass(frozen=True)
class CosineRestarts:
    """The schedule that `cosine_restarts` returns. Call it with the number t of a step to get the rate of the step.

    In each cycle, the rate falls from ``lr`` towards ``min_lr`` along half a period of a cosine. The cycles are counted
    from 0. Cycle i has ``cycle_steps * multiplier ** i`` steps.
    """

    lr: float
    cycle_steps: int
    multiplier: int = 1
    min_lr: float = 0.0

    def __post_init__(self) -> None:
        _check_floor("cosine_restarts", self.lr, self.min_lr)
        integer("cosine_restarts", "cycle_steps", self.cycle_steps)
        integer("cosine_restarts", "multiplier", self.multiplier)

    def cycle(self, t: int) -> Cycle:
        """Return the cycle that contains step t: (number of the cycle, position of step t in the cycle, cycle length).

        Cycles are counted from 0, positions from 1. All three values are exact, even for very large t.
        """
        position, length, number = step_number(t) - 1, self.cycle_steps, 0
        if self.multiplier == 1:
            number, position = divmod(position, length)
        else:
            while position >= length:
                position, length, number = position - length, length * self.multiplier, number + 1
        return Cycle(number, position + 1, length)

    def ends_cycle(self, t: int) -> bool:
        """Return True if step t is the last of its cycle. After such a step, a snapshot ensemble copies the weights."""
        _, position, length = self.cycle(t)
        return position == length

    def __call__(self, t: int) -> float:
        _, position, length = self.cycle(t)
        return _cosine(self.lr, self.min_lr, (position - 1) / length)


@dataclass(frozen=True)
class Warmup:
    """The schedule that `warmup` returns. Call it with the number t of a step to get the rate of the step.

    With the arguments ``schedule`` and ``steps`` of `warmup`, the rate is ``schedule(1) * t / (steps + 1)`` if
    t <= steps, and ``schedule(t - steps)`` afterwards.
    """

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
    """Return a schedule whose rate falls from ``lr`` to ``min_lr`` along half a cosine period, and then stays there.

    Steps are counted from 1. With T = ``total_steps``, the rate of step t is
    ``eta(t) = min_lr + (lr - min_lr) / 2 * (1 + cos(pi * min(t - 1, T) / T))``. This is one cycle of SGDR (Loshchilov
    and Hutter 2017, eq. 5). In step T, the rate is still above ``min_lr``. In all later steps, it is ``min_lr``. Up to
    step T + 1, torch's ``CosineAnnealingLR`` has the same rates, but its rate rises again afterwards.

    Parameters
    ----------
    lr : float
        Rate of step 1, >= 0.
    total_steps : int
        Number of steps in which the rate falls, >= 1.
    min_lr : float
        Rate after these steps, in [0, lr].

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
    """Return a schedule with cycles. In each cycle, the rate falls from ``lr`` towards ``min_lr``.

    The cycles are counted from 0, and cycle i has ``T_i = cycle_steps * multiplier ** i`` steps. If step t is in cycle
    i, and p steps of this cycle come before step t, then the rate of step t is
    ``eta(t) = min_lr + (lr - min_lr) / 2 * (1 + cos(pi * p / T_i))``. The source is Loshchilov and Hutter (2017), SGDR.

    The schedule has two methods. ``ends_cycle(t)`` returns True if step t is the last step of its cycle. ``cycle(t)``
    returns the number of the cycle, the position of step t in the cycle, and the length of the cycle. Snapshot
    ensembles (Huang et al. 2017) copy the weights when ``ends_cycle(t)`` is True.

    Parameters
    ----------
    lr : float
        Rate at the start of every cycle, >= 0.
    cycle_steps : int
        Length of the first cycle in steps, >= 1.
    multiplier : int
        At least 1. Each cycle has ``multiplier`` times as many steps as the cycle before it.
    min_lr : float
        Lower limit of the rate, in [0, lr]. The last rate of a cycle is slightly above this limit.

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
    """Return a schedule whose rate rises linearly to the first rate of ``schedule``, and then follows ``schedule``.

    The rate of step t is ``schedule(1) * t / (steps + 1)`` if t <= steps, and ``schedule(t - steps)`` afterwards. So
    step ``steps + 1`` is the first step with the rate ``schedule(1)`` (Goyal et al. 2017).

    Parameters
    ----------
    schedule : callable
        Any function that takes the number of a step, counted from 1, and returns the rate of this step.
    steps : int
        Number of steps in which the rate rises, >= 0. With 0, the result has the same rates as ``schedule``.

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
