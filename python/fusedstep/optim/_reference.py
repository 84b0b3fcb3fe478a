"""A step of an optimizer in NumPy. Its results have the same bits as the C++ kernels' results.

The tests compare the kernels with this step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._base.rules import RULES
from ._params import Array

LANES, CHUNK = 16, 4096


def power(x: float, t: int) -> float:
    """Return x^t by repeated squaring. The result has the same bits on every machine, unlike ``x**t``."""
    result = 1.0
    while t > 0:
        if t & 1:
            result *= x
        t >>= 1
        x *= x
    return result


def term(weight: Any, x: Array) -> Array:
    """Return weight * x. If the weight is 0, the result is 0, even if x is inf or nan."""
    return np.asarray(weight * (x if weight != 0 else np.zeros_like(x)))


def average(ema: Array, x: Array, beta: float) -> Array:
    """Return beta * ema + (1 - beta) * x.

    It is computed as x - beta * (x - ema) if beta <= 0.5, and as ema + (1 - beta) * (x - ema) otherwise. So the result
    is exact for beta = 0 and beta = 1.
    """
    c = x.dtype.type
    if 1.0 - beta >= 0.5:
        return np.asarray(x + term(c(-beta), x - ema))
    return np.asarray(ema + term(c(1.0 - beta), x - ema))


def square_ema(average: Array, x: Array, beta: float) -> Array:
    """Return beta * average + (1 - beta) * x^2. The last term is ((1 - beta) * x) * x, because x^2 may overflow."""
    c = x.dtype.type
    return np.asarray(term(c(beta), average) + (c(1.0 - beta) * x) * x)


def scaled(g: Array, factor: float) -> Array:
    """Return g * factor. If the factor overflows or is subnormal in g's dtype, the product is computed in float64."""
    if g.dtype.kind != "f":  # for example objects of `Fraction`, which have no largest and no smallest value
        return g * factor
    kind, size = np.finfo(g.dtype), abs(factor)
    if size == 0 or float(kind.tiny) <= size <= float(kind.max):
        return g * g.dtype.type(factor)
    return (g.astype(np.float64) * factor).astype(g.dtype)


def log(x: float) -> float:
    """Return the natural logarithm from a series. The result has the same bits on every machine, unlike libm's."""
    m, exponent = math.frexp(x)
    if m < math.sqrt(0.5):
        m, exponent = 2 * m, exponent - 1
    s = (m - 1.0) / (m + 1.0)
    series = 0.0
    for k in range(23, 0, -2):
        series = series * (s * s) + 1.0 / k
    return exponent * math.log(2) + 2.0 * s * series


def exp(x: float) -> float:
    """Return e^x from a series. The result has the same bits on every machine."""
    x = min(max(x, -1000.0), 1000.0)
    k = math.floor(x / math.log(2) + 0.5)
    rest = x - k * float.fromhex("0x1.62e42feep-1") - k * float.fromhex("0x1.a39ef35793c76p-33")  # ln 2 in two parts
    series = 1.0
    for n in range(15, 0, -1):
        series = 1.0 + rest / n * series
    return float(np.ldexp(series, k))


def real_power(x: float, y: float) -> float:
    """Return x^y for x >= 0."""
    if x == 0:
        return float(y == 0)
    return exp(y * log(x))


def scalar(state: Mapping[str, Array], name: str) -> float:
    """Return the value of a scalar state. If its array has several elements, all are equal."""
    return float(state[name].flat[0])


def next_share(lr: float, t: int, group: Mapping[str, Any], state: dict[str, Array]) -> float:
    """Return the weight that the point z of step t has in the average x of a schedule-free optimizer.

    The function also updates the states ``lr_max`` and ``weight_sum``.
    """
    lr_max = max(lr, scalar(state, "lr_max"))
    weight = real_power(t, group["r"]) * real_power(lr_max, group["weight_lr_power"])
    total = scalar(state, "weight_sum") + weight
    state["lr_max"][...], state["weight_sum"][...] = lr_max, total
    return weight / total if total > 0 else 0.0


def eps_inside_outside(c: Any, group: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return two numbers that are added to a step's denominator: the first inside its square root, the second outside.

    The numbers are (eps, 0) if the option `eps_inside` is True, and (0, eps) otherwise. `c` is their type.
    """
    eps = (c(group["eps"]), c(0))
    return eps if group["eps_inside"] else eps[::-1]


def norm(grads: list[Array | None], sizes: list[int]) -> float:
    """Return the Euclidean norm of all gradients together. The order of additions is the same as in the C++ kernels.

    The gradients are joined to one array and cut into chunks of 4,096 elements. In each chunk, 16 sums are computed:
    sum i contains the squares of the elements i, i + 16, i + 32 and so on. Then the 16 sums of each chunk are added. At
    last, the sums of all chunks are added.

    Parameters
    ----------
    grads : list of (array or None)
        The gradient of each parameter, with its elements in the memory order of the parameter. None stands for zeros.
    sizes : list of int
        The number of elements of each parameter.
    """
    flat = [np.zeros(n) if g is None else g.ravel().astype(np.float64) for g, n in zip(grads, sizes, strict=True)]
    values = np.concatenate([*flat, np.zeros(-sum(sizes) % CHUNK)])
    with np.errstate(over="ignore"):
        squares = values**2
    total = 0.0
    for chunk in squares.reshape(-1, CHUNK // LANES, LANES):
        lanes = np.zeros(LANES)
        for row in chunk:
            lanes += row
        width = LANES // 2
        while width > 0:
            lanes = lanes[:width] + lanes[width : 2 * width]
            width //= 2
        total += float(lanes[0])
    for power, needed in (
        (2.0**-600, np.isinf(total) and np.isfinite(values).all()),  # squares or their sum overflowed
        (2.0**600, total < 2.0**-970 and values.any()),  # squares may be subnormal, with fewer digits
    ):
        if needed:  # add the squares of scaled values, one after the other
            return float(np.sqrt(np.add.accumulate((values * power) ** 2)[-1])) / power
    return float(np.sqrt(total))


def step(
    cls: Any,
    p: Array,
    g: Array,
    state: dict[str, Array],
    t: int,
    lr: float,
    group: Mapping[str, Any],
    *,
    factor: float = 1.0,
    clip_value: float | None = None,
    decay_scale: float = 1.0,
) -> Array:
    """Return the parameters p after step t of the optimizer class `cls`, and update `state`. g is the gradient.

    `factor` is clip_coef divided by grad_scale. `group` contains the options. For the meaning of these names, see
    `Optimizer` and `Optimizer.step`.
    """
    c = p.dtype.type
    weight_decay, l1 = decay_scale * group["weight_decay"], decay_scale * group["l1"]
    decay = group["decay"]
    g = scaled(g, -factor if group["maximize"] else factor)
    if clip_value is not None:
        g = np.where(g < -c(clip_value), -c(clip_value), g)
        g = np.where(g > c(clip_value), c(clip_value), g)
    if decay == "l2" and c(weight_decay):
        g = g + c(weight_decay) * p
    if decay == "l2" and l1:
        g = g + c(l1) * sign(p)
    if decay == "decoupled" and l1:
        p = p - c(lr * l1) * sign(p)
    if "weight_decay" in RULES[cls.rule].hyper:
        group = {**group, "weight_decay": weight_decay if decay == "decoupled" else 0.0}
    elif decay == "decoupled":
        p = p * c(1.0 - lr * weight_decay)
    p = cls.reference(p, g, state, t, lr, group)
    threshold, divide = lr * l1, 1.0 + lr * weight_decay
    if decay == "proximal" and (threshold != 0 or divide != 1):
        size = np.where(p < 0, -p, p) - c(threshold)
        size = np.where(size < 0, c(0), size)
        p = np.where(p < 0, -size, size) / c(divide)
    return p


def sign(x: Array) -> Array:
    """Return the sign of each element: -1, 0 or 1. The sign of nan is 0."""
    return (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)
