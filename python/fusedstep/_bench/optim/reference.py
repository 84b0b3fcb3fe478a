"""The formulas of the optimizers in NumPy, and the check of every implementation before the timing.

In float64, the formulas give the right results. The check compares every implementation with them, also fusedstep. In
float32, the formulas are the line `numpy` of the printed table: the code that a user writes without a library.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .cases import CLIP_NORM, EMA_DECAY

Array = np.ndarray
State = dict[str, Array]
MakeStep = Callable[[Array], Callable[[Array, int], object]]  # takes parameters, and returns step(gradients, t)
Rule = Callable[[Array, Array, State, int, Mapping[str, Any]], None]

# Factors of the gradients in the checked steps. If all steps had the same gradients, the check would not find a wrong
# decay rate.
GRADIENT_SCALES = (1.0, -0.5, 2.0)
SAMPLED = 1_000_000  # if a case has more elements, about this many are compared
# After all steps, the allowed error of an element p is RELATIVE * (largest change of any element) + ROUNDING * |p|.
RELATIVE = 2e-3
ROUNDING = 4 * float(np.finfo(np.float32).eps)
NARROW = 0.1  # for 8-bit states: allowed (root mean square of the errors) / (root mean square of the changes)


def _zeros(state: State, name: str, like: Array) -> Array:
    return state.setdefault(name, np.zeros_like(like))


def sgd(p: Array, g: Array, state: State, t: int, h: Mapping[str, Any]) -> None:
    if mu := h.get("momentum", 0.0):
        buf = _zeros(state, "buf", p)
        buf *= mu
        buf += g
        g = g + mu * buf if h.get("nesterov") else buf
    p -= h["lr"] * g


def adagrad(p: Array, g: Array, state: State, t: int, h: Mapping[str, Any]) -> None:
    total = _zeros(state, "sum", p)
    total += g * g
    p -= h["lr"] * g / (np.sqrt(total) + h.get("eps", 1e-10))


def adadelta(p: Array, g: Array, state: State, t: int, h: Mapping[str, Any]) -> None:
    square, acc, rho, eps = (
        _zeros(state, "square", p),
        _zeros(state, "acc", p),
        h.get("rho", 0.9),
        h.get("eps", 1e-6),
    )
    square *= rho
    square += (1 - rho) * g * g
    delta = np.sqrt(acc + eps) / np.sqrt(square + eps) * g
    acc *= rho
    acc += (1 - rho) * delta * delta
    p -= h["lr"] * delta


def rmsprop(p: Array, g: Array, state: State, t: int, h: Mapping[str, Any]) -> None:
    square, alpha = _zeros(state, "square", p), h.get("alpha", 0.99)
    square *= alpha
    square += (1 - alpha) * g * g
    p -= h["lr"] * g / (np.sqrt(square) + h.get("eps", 1e-8))


def adam(p: Array, g: Array, state: State, t: int, h: Mapping[str, Any]) -> None:
    m, v, (b1, b2) = _zeros(state, "m", p), _zeros(state, "v", p), h.get("betas", (0.9, 0.999))
    m += (1 - b1) * (g - m)
    v *= b2
    v += (1 - b2) * g * g
    p -= h["lr"] / (1 - b1**t) * m / (np.sqrt(v) / math.sqrt(1 - b2**t) + h.get("eps", 1e-8))


def adamw(p: Array, g: Array, state: State, t: int, h: Mapping[str, Any]) -> None:
    p *= 1 - h["lr"] * h["weight_decay"]
    adam(p, g, state, t, h)


RULES: dict[str, Rule] = {
    "SGD": sgd,
    "Adagrad": adagrad,
    "Adadelta": adadelta,
    "RMSprop": rmsprop,
    "Adam": adam,
    "AdamW": adamw,
}


def rule_of(name: str, cls: Any, options: Mapping[str, Any]) -> Rule | None:
    """Return the formulas of an optimizer: those in RULES, or those of the optimizer's class (`cls.reference`).

    For an optimizer that is not in RULES, return None if `cls.reference` does not compute the whole step. This is so if
    the optimizer uses weight decay or L1, or if its class has states that `cls.reference` does not update
    (`cls._own_states`).
    """
    if name in RULES:
        return RULES[name]
    probe = cls([np.ones(1)], **options)
    group, first = probe.groups[0], next(iter(probe.state.values()))
    if group["weight_decay"] or group["l1"] or cls._own_states((1,)):
        return None

    def rule(p: Array, g: Array, state: State, t: int, h: Mapping[str, Any]) -> None:
        for name, array in first.items():  # a state has the shape of the parameter, or is a single number
            state.setdefault(name, np.full_like(p, array.flat[0]) if array.ndim else array.copy())
        p[...] = cls.reference(p, g, dict(state), t, h["lr"], group)

    return rule


def clip_coefficient(norm: float) -> float:
    """Return min(1, CLIP_NORM / (norm + 1e-6)), as in torch."""
    return min(1.0, CLIP_NORM / (norm + 1e-6))


def norm_of(arrays: list[Array]) -> float:
    return math.sqrt(sum(float(np.square(a, dtype=np.float64).sum()) for a in arrays))


def picked(arrays: list[Array]) -> Array:
    """Return elements of each tensor in float64: elements at equal distances, and the last element."""
    stride = max(1, sum(a.size for a in arrays) // SAMPLED)
    parts = [part for a in arrays for part in (a.reshape(-1)[::stride], a.reshape(-1)[-1:])]
    return np.concatenate(parts).astype(np.float64)


class Oracle:
    """The right parameters and averages in float64, after one step for each factor in GRADIENT_SCALES."""

    def __init__(
        self, params: list[Array], gradients: list[Array], make: MakeStep, clip: bool, narrow: bool = False
    ) -> None:
        self.error_of = narrow_error_of if narrow else error_of
        self.start, g = picked(params), picked(gradients)
        self.params, self.averages = self.start.copy(), self.start.copy()
        norm, step = norm_of(gradients) if clip else 0.0, make(self.params)
        for t, scale in enumerate(GRADIENT_SCALES, start=1):
            step(g * (scale * (clip_coefficient(abs(scale) * norm) if clip else 1.0)), t)
            self.averages += (1 - EMA_DECAY) * (self.params - self.averages)

    def error(self, params: list[Array], averages: list[Array]) -> float:
        """Return the largest error, divided by the allowed error. A result is right if this number is at most 1."""
        error = self.error_of(picked(params), self.params, self.start)
        return max(error, self.error_of(picked(averages), self.averages, self.start)) if averages else error


class WholeOracle(Oracle):
    """The right results for an optimizer in which the update of one element also depends on other elements.

    Our own optimizer computes the results in float64, from all elements of the arrays.
    """

    def __init__(self, params: list[Array], gradients: list[Array], make: Callable[[list[Array]], Any]) -> None:
        self.error_of, self.start = error_of, picked(params)
        wide = [p.astype(np.float64) for p in params]
        optimizer = make(wide)
        for scale in GRADIENT_SCALES:
            optimizer.step([g.astype(np.float64) * scale for g in gradients])
        self.params = self.averages = picked(wide)


def error_of(got: Array, want: Array, start: Array) -> float:
    if not np.isfinite(got).all():
        return math.inf
    allowed = RELATIVE * np.abs(want - start).max() + ROUNDING * np.abs(want)
    return float((np.abs(got - want) / allowed).max())


def narrow_error_of(got: Array, want: Array, start: Array) -> float:
    """Return the root mean square of the errors `got - want`, divided by the largest value that is allowed.

    The largest allowed value is `NARROW` times the root mean square of the changes `want - start`. This check is for
    optimizers with 8-bit states, because with such states the errors of single elements may be large.
    """
    if not np.isfinite(got).all():
        return math.inf
    return float(np.sqrt(np.square(got - want).mean() / np.square(want - start).mean())) / NARROW
