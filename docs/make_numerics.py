"""Write numerics.md: errors of steps and of batch norm, compared with the same formulas in higher precision."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fusedstep as fs
from fusedstep.optim import _reference

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))
from support.bits import DTYPES, Array  # noqa: E402
from support.oracle import CLASSES, Options, variants  # noqa: E402

sys.path.pop(0)

WIDER = dict(zip(DTYPES, (np.float64, np.longdouble), strict=True))
LR, STEPS, SIZE = 0.1, 5, 20_000
RATIOS = [1.0, 1e2, 1e4, 1e6, 1e8]


class Ulps(NamedTuple):
    """The largest errors of a step and of its states, in ULPs (units in the last place) of the exact value."""

    step: float
    state: float


def ulps(got: Array, exact: Array) -> float:
    """Return the largest error of `got`. The unit is one ULP of the exact value, in the type of `got`."""
    return float(np.max(np.abs(got - exact) / np.spacing(np.abs(exact).astype(got.dtype))))


def step_errors(cls: Any, options: Options, dtype: np.dtype[Any], seed: int = 0, size: int = SIZE) -> Ulps:
    """Return the errors of the last of five steps. The gradients are between 2^-10 and 2^10 in absolute value.

    The gradients of an element have the same sign in all steps, so that no sum cancels. Before the last step, the
    parameter is set to 0, so that the new parameter is minus the step.
    """
    rng, wide = np.random.default_rng(seed), WIDER[dtype]
    signs = rng.choice([-1.0, 1.0], size)
    grads = [np.ldexp(signs * rng.uniform(1, 2, size), rng.integers(-10, 10, size)).astype(dtype) for _ in range(STEPS)]
    p = np.zeros(size, dtype)
    opt = cls([p], lr=LR, **options)
    for g in grads[:-1]:
        opt.step([g])
    p[...] = 0
    exact = {name: a.astype(wide) for name, a in opt.state[0].items()}
    step = _reference.step(cls, p.astype(wide), grads[-1].astype(wide), exact, STEPS, LR, opt.groups[0])
    opt.step(grads[-1:])
    return Ulps(ulps(p, step), max((ulps(opt.state[0][name], a) for name, a in exact.items()), default=0.0))


def largest(cls: Any, dtype: np.dtype[Any], seed: int = 0, size: int = SIZE) -> Ulps:
    """Return the largest errors over all variants of an optimizer."""
    found = [step_errors(cls, options, dtype, seed, size) for options in variants(cls)]
    return Ulps(max(e.step for e in found), max(e.state for e in found))


def bound(seen: float) -> int:
    """Return the bound for a largest error: twice the error, rounded up."""
    return max(1, math.ceil(2 * seen))


class Moments(NamedTuple):
    """Largest errors of batch norm.

    The error of the mean is divided by the standard deviation. The error of 1 / standard deviation is relative. The
    error of y is divided by the largest |y|.
    """

    mean: float
    invstd: float
    y: float


def batch_norm_errors(dtype: np.dtype[Any], ratio: float, seed: int = 0) -> Moments:
    """Return the errors for channels with the mean `ratio` and the standard deviation 1.

    Before the values are rounded to `dtype`, up to half an ULP is added at random.
    """
    rng, shape = np.random.default_rng(seed), (64, 3, 500)
    dither = np.spacing(dtype.type(ratio)) * rng.uniform(-0.5, 0.5, shape)
    x = (rng.normal(ratio, 1, shape) + dither).astype(dtype)
    y, saved = fs.batch_norm(x, eps=0.0)
    exact = np.moveaxis(x, 1, 0).reshape(3, -1).astype(np.longdouble)
    mean = exact.mean(1)
    deviation = np.sqrt(((exact - mean[:, None]) ** 2).mean(1))
    normal = (exact - mean[:, None]) / deviation[:, None]
    return Moments(
        float(np.max(np.abs(saved.mean - mean) / deviation)),
        float(np.max(np.abs(saved.invstd * deviation - 1))),
        float(np.max(np.abs(np.moveaxis(y, 1, 0).reshape(3, -1) - normal)) / np.max(np.abs(normal))),
    )


def up(x: float) -> str:
    """Return x as text with one significant digit, rounded up."""
    power = 10.0 ** math.floor(math.log10(max(x, 1e-30)))
    return f"{math.ceil(x / power) * power:.0e}"


def step_rows() -> Iterator[list[str]]:
    """Yield a row for each optimizer: the bounds and the largest errors."""
    for cls in CLASSES:
        row = [cls.__name__]
        for dtype in DTYPES:
            seen = largest(cls, dtype)
            row += [f"{bound(seen.step)}, {bound(seen.state)}", f"{seen.step:.1f}, {seen.state:.1f}"]
        yield row


def batch_norm_rows() -> Iterator[list[str]]:
    """Yield a row for each ratio mean / deviation: the largest errors."""
    for dtype in DTYPES:
        for ratio in RATIOS:
            yield [str(dtype), f"{ratio:g}", *map(up, batch_norm_errors(dtype, ratio))]


def table(head: str, rows: Iterator[list[str]]) -> str:
    """Return a Markdown table with this head and these rows."""
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def page() -> str:
    """Return the text of numerics.md: numerics.txt with the two tables."""
    steps = table("| rule | float32: bounds | float32: measured | float64: bounds | float64: measured |", step_rows())
    norms = table("| type | mean / deviation | mean | 1 / deviation | y |", batch_norm_rows())
    text = (DOCS / "numerics.txt").read_text("utf-8")
    return text.replace("{steps}", steps).replace("{batch norm}", norms)


if __name__ == "__main__":
    (DOCS / "numerics.md").write_text(page(), "utf-8")
