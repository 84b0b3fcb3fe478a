"""Schedules that keep or lower the rate: constant, step, exponential, inverse time, Bengio's."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ._check import as_float, integer, positive, real, step_number


@dataclass(frozen=True)
class Constant:
    """The schedule that `constant` returns: the rate of step t is ``eta(t) = lr``."""

    lr: float

    def __post_init__(self) -> None:
        real("constant", "lr", self.lr)

    def __call__(self, t: int) -> float:
        step_number(t)
        return self.lr


@dataclass(frozen=True)
class Step:
    """The schedule that `step` returns: the rate of step t is ``eta(t) = lr * gamma ** floor((t - 1) / step_size)``."""

    lr: float
    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        real("step", "lr", self.lr)
        integer("step", "step_size", self.step_size)
        positive("step", "gamma", self.gamma, high=1.0)

    def __call__(self, t: int) -> float:
        return self.lr * math.pow(self.gamma, as_float((step_number(t) - 1) // self.step_size))


@dataclass(frozen=True)
class Exponential:
    """The schedule that `exponential` returns: the rate of step t is ``eta(t) = lr * gamma ** (t - 1)``."""

    lr: float
    gamma: float

    def __post_init__(self) -> None:
        real("exponential", "lr", self.lr)
        positive("exponential", "gamma", self.gamma, high=1.0)

    def __call__(self, t: int) -> float:
        return self.lr * math.pow(self.gamma, as_float(step_number(t) - 1))


@dataclass(frozen=True)
class InverseTime:
    """The schedule that `inverse_time` returns: the rate of step t is ``eta(t) = lr / (1 + decay * (t - 1))``."""

    lr: float
    decay: float

    def __post_init__(self) -> None:
        real("inverse_time", "lr", self.lr)
        real("inverse_time", "decay", self.decay)

    def __call__(self, t: int) -> float:
        return self.lr / (1.0 + self.decay * as_float(step_number(t) - 1))


@dataclass(frozen=True)
class Bengio:
    """The schedule that `bengio` returns: the rate of step t is ``eta(t) = lr * tau / max(t, tau)``."""

    lr: float
    tau: float

    def __post_init__(self) -> None:
        real("bengio", "lr", self.lr)
        positive("bengio", "tau", self.tau)

    def __call__(self, t: int) -> float:
        return self.lr * (self.tau / max(as_float(step_number(t)), self.tau))


def constant(lr: float) -> Constant:
    """Return a schedule with a constant rate: ``eta(t) = lr`` for every step t.

    Parameters
    ----------
    lr : float
        The rate of every step, >= 0.

    Raises
    ------
    ValueError
        If ``lr`` is negative, nan or infinite.

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """
    return Constant(lr)


def step(lr: float, step_size: int, gamma: float = 0.1) -> Step:
    """Return a schedule that multiplies the rate by ``gamma`` after every ``step_size`` steps.

    The rate of step t is ``eta(t) = lr * gamma ** floor((t - 1) / step_size)``.

    Parameters
    ----------
    lr : float
        Rate of the first ``step_size`` steps, >= 0.
    step_size : int
        Number of optimizer steps between two changes of the rate, >= 1. torch's ``StepLR`` counts the calls of its
        method ``step`` instead.
    gamma : float
        The rate is multiplied by this number, in (0, 1].

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> eta = step(1.0, step_size=10, gamma=0.5)
    >>> eta(10), eta(11), eta(21)
    (1.0, 0.5, 0.25)
    """
    return Step(lr, step_size, gamma)


def exponential(lr: float, gamma: float) -> Exponential:
    """Return a schedule that multiplies the rate by ``gamma`` after every step: ``eta(t) = lr * gamma ** (t - 1)``.

    Parameters
    ----------
    lr : float
        Rate of step 1, >= 0.
    gamma : float
        A number in (0, 1]. The rate is multiplied by it after every step.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> exponential(1.0, gamma=0.5)(4)
    0.125
    """
    return Exponential(lr, gamma)


def inverse_time(lr: float, decay: float) -> InverseTime:
    """Return a schedule whose rate falls as 1 / t: ``eta(t) = lr / (1 + decay * (t - 1))`` for step t.

    With decay > 0, the rates have the two properties that Robbins and Monro (1951) require for the convergence of
    stochastic gradient descent: their sum is infinite, and the sum of their squares is finite.

    Parameters
    ----------
    lr : float
        Rate of step 1, >= 0.
    decay : float
        How fast the rate falls, >= 0. After ``1 / decay`` steps the rate is ``lr / 2``.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> inverse_time(1.0, decay=0.5)(3)
    0.5
    """
    return InverseTime(lr, decay)


def bengio(lr: float, tau: float) -> Bengio:
    """Return a schedule whose rate is constant for ``tau`` steps and then falls.

    The rate of step t is ``eta(t) = lr * tau / max(t, tau)``.

    The source is Bengio (2012), "Practical recommendations for gradient-based training of deep architectures", eq. 10.

    Parameters
    ----------
    lr : float
        Rate of the first ``tau`` steps, >= 0.
    tau : float
        Number of the step after which the rate falls, > 0.

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> eta = bengio(1.0, tau=100)
    >>> eta(1), eta(100), eta(400)
    (1.0, 1.0, 0.25)
    """
    return Bengio(lr, tau)
