"""Steps of optimizers that replace a gradient by a direction.

A direction has the shape of the gradient. Each of its elements depends on several elements of the gradient. For
example, each row of the gradient is divided by a number that is computed from the whole row. The kernel updates each
element on its own. So it cannot compute directions, and gets them in place of the gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import _core
from .._base import checks
from .._core import StepInfo
from ._optimizer import Gradients, Optimizer
from ._params import Array
from ._rows import Rows, check_can_be_zeroed, coalesced


class Moved(NamedTuple):
    """A new value for ``state[where]``. It is written after the step, unless `skip_nonfinite` skips the step."""

    state: Array
    where: Any
    value: Array


class Directed(Optimizer):
    """Base class of optimizers whose kernel gets directions in place of gradients.

    In the method `reference` of these optimizers, the argument g is a direction.
    """

    element_wise = False

    def step(self, grads: Gradients, **options: Any) -> StepInfo:
        """Update all parameters in place; see `Optimizer.step`."""
        return _step(self, super().step, grads, options)

    def _directs(self, k: int) -> bool:
        """Return True if the kernel gets a direction for parameter k, False if it gets the gradient."""
        return True

    def _direction(self, k: int, g: Array, t: int, rows: Array | None) -> tuple[list[Moved], Array]:
        """Return the new values of the states, and the direction, of parameter k at step t. g is the gradient.

        If `rows` is not None, g is the gradient of only these rows of the parameter.
        """
        p, group = self._arrays[k], self._groups[self._group_of[k]]
        own = {name: self._state[self._keys[k]][name] for name in self._own_states(p.shape)}
        where = ... if rows is None else rows
        found, direction = self._directed(g, {n: a[where] for n, a in own.items()}, t, group, p.dtype.name)
        return [Moved(own[name], where, value) for name, value in found.items()], direction


def _step(opt: Directed, fused: Callable[..., StepInfo], grads: Any, options: dict[str, Any]) -> StepInfo:
    """Take a step: call `fused`, the step of the base class, with directions in place of gradients.

    `fused` multiplies the arrays that it gets by a factor (for `grad_scale` and `clip_norm`). A direction is computed
    from the gradient times this factor. Then the direction is divided by the factor, because `fused` multiplies it by
    the factor again.
    """
    given = grads if type(grads) is list or type(grads) is dict else opt._in_order(grads)
    raw = _that_fit(opt, given)
    bound = options.pop("clip_value", None)
    bound = None if bound is None else opt._option(checks.non_negative, "clip_value", bound)
    if options.get("zero_grads"):
        _check_can_be_zeroed(opt, given, raw)
    factor = _factor(opt, raw, options)
    steps, moved = opt._plan.tensor_steps, []
    replaced: Any = given.copy()
    with np.errstate(all="ignore"):
        for k, g in raw.items():
            if not opt._directs(k) and bound is None:
                continue
            rows, values = (g.indices, g.values) if isinstance(g, Rows) else (None, g)
            direction = _scaled(values, factor, bound)
            if opt._directs(k):
                of_states, direction = opt._direction(k, direction, steps[k] + 1, rows)
                moved += of_states
            direction = _unscaled(direction, factor)
            key = opt._keys[k] if isinstance(replaced, dict) else k
            replaced[key] = direction if rows is None else Rows(rows, direction)
    info = fused(replaced, **options)
    for state, where, value in () if info.skipped else moved:
        state[where] = value
    for k in raw if options.get("zero_grads") else ():
        _zero(_at(opt, given, k))
    return info


def factored(g: Array, row: Array, column: Array, weight: float, eps: float) -> tuple[Array, Array, Array]:
    """Return the next `row` and `column`, and the gradient divided by the root of the second moment.

    The second moment of element (i, j) is ``row[i] * column[j] / mean(row)``, with the next `row` and `column`.

    Parameters
    ----------
    g : array of shape (..., n, m)
        The gradient; float32 or float64.
    row, column : arrays of shapes (..., n, 1) and (..., 1, m)
        The running averages of the mean squares of rows and columns.
    weight : float
        Weight of the new mean squares in the averages.
    eps : float
        Lower limit of the root, and of the mean of `row`. Both are divisors.
    """
    if g.size == 0:
        return row, column, g
    matrices = np.ascontiguousarray(g).reshape(-1, *g.shape[-2:])
    row, column, direction = _core.divide_by_factors(matrices, row, column, weight, eps)
    return row, column, direction.reshape(g.shape)


def of_vector(g: Array, variance: Array, weight: float, eps: float) -> tuple[Array, Array]:
    """Return the next `variance`, and the gradient g divided by the root of this next `variance`.

    `variance` is the running average of g * g. `weight` is the weight of the new g * g. `eps` is a lower limit of the
    root.
    """
    c = g.dtype.type
    variance = variance + c(weight) * (g * g - variance)
    least = max(eps * eps, float(np.finfo(c).smallest_normal)) if eps > 0 else 0.0
    return variance, g / np.sqrt(np.maximum(variance, c(least)))


def by_rows(g: Array, total: Array, rate: float, eps: float) -> tuple[Array, Array]:
    """Return the next `total`, and the direction ``rate * g / (sqrt(total) + eps)`` with this next `total`.

    `total` contains one number for each row of the parameter: the sum, over all steps, of the mean square of the row's
    gradient.
    """
    if g.size == 0:
        return total, g
    c, matrix = g.dtype.type, np.ascontiguousarray(g).reshape(total.size, -1)
    squares = _core.squares_of_rows(matrix[None])
    total = total + (squares[0] / matrix.shape[1]).astype(c).reshape(total.shape)
    return total, (matrix * (c(rate) / (np.sqrt(total) + c(eps))).reshape(-1, 1)).reshape(g.shape)


def _at(opt: Any, given: Any, k: int) -> Any:
    return given.get(opt._keys[k]) if isinstance(given, dict) else given[k] if k < len(given) else None


def _that_fit(opt: Any, given: Any) -> dict[int, Any]:
    """Return the gradients with suitable shapes and dtypes, by position. The fused step refuses all others."""
    found: dict[int, Any] = {}
    for k, p in enumerate(opt._arrays):
        g = _at(opt, given, k)
        if isinstance(g, Rows):
            found |= {k: coalesced(opt, k, g)} if opt.takes_rows else {}
            continue
        if g is not None and not isinstance(g, np.ndarray) and hasattr(g, "__dlpack__"):
            g = np.from_dlpack(g)
        if isinstance(g, np.ndarray) and g.shape == p.shape and (g.dtype == p.dtype or max(g.itemsize, p.itemsize) < 8):
            found[k] = g
    return found


def _check_can_be_zeroed(opt: Any, given: Any, raw: Mapping[int, Any]) -> None:
    for k, g in raw.items():
        what = opt._what(f"grads[{k}]")
        if isinstance(g, Rows):
            check_can_be_zeroed(what, _at(opt, given, k))
        elif not g.flags.writeable:
            raise ValueError(f"{what} must be writeable if zero_grads is True; got a read-only {g.dtype} {g.shape}")


def _zero(g: Any) -> None:
    values = g.values if isinstance(g, Rows) else g if isinstance(g, np.ndarray) else np.from_dlpack(g)
    values[...] = 0


def _scaled(g: Array, factor: float, bound: float | None) -> Array:
    wide = g.dtype.type if g.itemsize > 2 else np.float32
    g = g.astype(wide, copy=False) if factor == 1 else g * wide(factor)
    return g if bound is None else np.clip(g, -bound, bound)


def _unscaled(direction: Array, factor: float) -> Array:
    if factor == 1:
        return direction
    return direction / direction.dtype.type(factor) if factor else direction * 0


def _factor(opt: Any, raw: Mapping[int, Any], options: dict[str, Any]) -> float:
    """Return the factor by which the fused step multiplies the gradients, computed from `grad_scale` and `clip_norm`.

    If the step needs the norm of the gradients and ``options["grad_norm"]`` is missing, write the norm there.
    """
    scale = opt._option(checks.positive, "grad_scale", options.get("grad_scale", 1.0))
    clip = options.get("clip_norm")
    if options.get("grad_norm") is None and (clip is not None or options.get("skip_nonfinite")):
        arrays = (g.values if isinstance(g, Rows) else g for g in raw.values())
        options["grad_norm"] = math.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in arrays)) / scale
    if clip is None:
        return float(1.0 / scale)
    clip = opt._option(checks.non_negative, "clip_norm", clip)
    coefficient = clip / (opt._option(checks.norm, "grad_norm", options["grad_norm"]) + 1e-6)
    return float((1.0 if coefficient > 1 else coefficient) / scale)
