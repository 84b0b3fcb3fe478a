"""docs/numerics.md equals the output of docs/make_numerics.py. Its bounds of errors hold for other random numbers."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fusedstep.optim import _reference
from support.bits import Array, every_dtype
from support.machines import SERIAL, running
from support.oracle import actual, every_class, every_class_of_this_rate, expected, variants

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS))
import make_numerics  # noqa: E402

sys.path.pop(0)

long_double = pytest.mark.skipif(
    bool(np.finfo(np.longdouble).eps > 1e-18), reason="long double has no more digits than float64 on this platform"
)


@long_double
def test_numerics_page_equals_the_output_of_make_numerics() -> None:
    assert DOCS.joinpath("numerics.md").read_text("utf-8") == make_numerics.page()


@long_double
@every_dtype
@every_class
def test_errors_of_steps_are_within_the_bounds_of_the_numerics_page(cls: Any, dtype: Any) -> None:
    promised, found = make_numerics.largest(cls, dtype), make_numerics.largest(cls, dtype, seed=1, size=1000)
    assert found.step <= make_numerics.bound(promised.step)
    assert found.state <= make_numerics.bound(promised.state)
    assert max(found) > 0.1, "errors of at most 0.1 ULP mean that nothing was measured"


@long_double
@pytest.mark.nightly
@every_dtype
@every_class
def test_errors_of_steps_of_3_million_numbers_are_within_the_bounds_of_the_numerics_page(cls: Any, dtype: Any) -> None:
    promised, found = make_numerics.largest(cls, dtype), make_numerics.largest(cls, dtype, seed=2, size=3_000_000)
    assert found.step <= make_numerics.bound(promised.step)
    assert found.state <= make_numerics.bound(promised.state)


@every_class
def test_error_of_a_momentum_is_at_most_10_ulps_of_the_largest_gradient(cls: Any, rng: np.random.Generator) -> None:
    """Momentums in float32 and in float64 are compared. The terms of a momentum have both signs and can cancel."""
    grads = [rng.standard_normal(5000).astype(np.float32) for _ in range(5)]
    unit = np.spacing(np.max(np.abs(grads)))
    for options in variants(cls):
        opt = cls([np.zeros(5000, np.float32)], lr=0.1, **options)
        wide = {name: a.astype(np.float64) for name, a in opt.state[0].items()}
        p = np.zeros(5000)
        for t, g in enumerate(grads, 1):
            opt.step([g])
            p = _reference.step(cls, p, g.astype(np.float64), wide, t, 0.1, opt.groups[0])
        for name, exact in wide.items():
            if (exact < 0).any():  # a momentum, or another state that has a sign
                assert np.max(np.abs(opt.state[0][name] - exact)) <= 10 * unit, (options, name)


@every_dtype
@every_class_of_this_rate
def test_steps_keep_denormals(cls: Any, dtype: Any, rng: np.random.Generator) -> None:
    """All parameters stay denormal during three steps, and have the bits of the NumPy reference."""
    info = np.finfo(dtype)
    smallest = np.ldexp(1.0, info.minexp - info.nmant)
    start = (rng.integers(-10_000, 10_000, 500) * smallest).astype(dtype)
    grads = [rng.standard_normal(500).astype(dtype) for _ in range(3)]
    options = {"lr": 1000 * smallest, "ema_decay": 0.5}
    want = expected(cls([start.copy()], **options), grads, {})
    assert (want.params != start).mean() > 0.5 and (abs(want.params) < info.tiny).all()
    for machine in SERIAL:
        with running(machine):
            actual(cls([start.copy()], **options), grads, {}).assert_same_bits(want, machine)


def nearest_even(x: Array, digits: int, smallest_exponent: int, largest: float) -> Array:
    """Round float64 numbers to `digits` binary digits, with ties to even.

    Denormals, with exponents below `smallest_exponent`, have fewer digits. If the absolute value of a result is above
    `largest`, the result becomes infinite.
    """
    exponent = np.maximum(np.frexp(np.where(np.isfinite(x), x, 0))[1] - 1, smallest_exponent)
    unit = np.ldexp(1.0, exponent - digits + 1)
    rounded = np.rint(x / unit) * unit
    return np.where(abs(rounded) > largest, np.copysign(np.inf, x), rounded)


@pytest.mark.parametrize(("name", "digits", "bias"), [("bfloat16", 8, 127), ("float16", 11, 15)])
def test_step_rounds_16_bit_parameters_to_nearest_even(
    name: str, digits: int, bias: int, torch: ModuleType, rng: np.random.Generator
) -> None:
    """The parameters are all 65,536 numbers of the dtype. A step subtracts half of the gradient.

    The gradients of the first step are also all numbers of the dtype, in random order. In each of the six other steps,
    a gradient is a number `k` times the unit in the last place of its parameter. These steps give many ties: exact
    results that lie in the middle between two numbers of the dtype. Each step begins at the same parameters.
    """
    import fusedstep.torch as ft

    def halves(bits: Array) -> Any:
        return torch.from_numpy(bits.astype(np.uint16).view(np.int16)).view(getattr(torch, name))

    largest = float(torch.finfo(getattr(torch, name)).max)
    every = halves(np.arange(1 << 16))
    exact = np.where(np.isfinite(every.double().numpy()), every.double().numpy(), 0)
    unit = np.ldexp(1.0, np.maximum(np.frexp(exact)[1] - 1, 1 - bias) - digits + 1)
    ties = 0
    for grads in (
        halves(rng.permutation(1 << 16)),
        *(torch.from_numpy(k * unit).to(every.dtype) for k in (-3.0, -1.0, 1.0, 3.0, 0.75, 1.25)),
    ):
        p = every.clone().requires_grad_()
        p.grad = grads
        ft.SGD([p], lr=0.5).step()
        with np.errstate(all="ignore"):
            single = every.float().numpy() - np.float32(0.5) * grads.float().numpy()
            want = nearest_even(single.astype(np.float64), digits, 1 - bias, largest)
            ties += int((abs(want - single) == unit / 2).sum())
        np.testing.assert_array_equal(p.detach().double().numpy(), want)
    assert ties > 100_000


@every_dtype
@pytest.mark.parametrize("ratio", make_numerics.RATIOS)
def test_errors_of_batch_statistics_stay_small_if_the_mean_is_much_larger_than_the_deviation(
    dtype: Any, ratio: float
) -> None:
    """`ratio` is the mean divided by the standard deviation.

    The bound is 4 eps of the dtype of the data, plus `ratio` times 4 eps of float64.
    """
    allowed = 4 * float(np.finfo(dtype).eps) + ratio * 2.0**-50
    assert max(make_numerics.batch_norm_errors(dtype, ratio, seed=1)) <= allowed
