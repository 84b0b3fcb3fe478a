"""Compare steps, layers and losses with mpmath, for zeros, denormals, the limits of each dtype, inf and nan.

Each operation of a step may add an error of half a unit in the last place (ULP). `support.exact` computes the bound of
the whole error from the formula of the step. `ROWS` lists the reasons for which a result may exceed its bound.
docs/numerics.md shows the same reasons. For layers and losses, each test gives the bounds in ULPs.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import nn
from fusedstep._base import checks
from fusedstep.nn import losses
from fusedstep.optim import _reference
from support.bits import Array, every_dtype
from support.exact import CONTEXT, INF, Exact, Format, Namespace, exact, grid, mpf, option
from support.oracle import CLASSES, Options, accepted, variants

#: Optimizers whose coefficients are computed in float64, with logarithms, powers or scalar states. Exact numbers cannot
#: replace these coefficients, so `test_published` and `test_rules` test these optimizers instead.
PREPARED = ("ASGD", "AdEMAMix", "AdamWScheduleFree", "NAdam", "RAdam", "SGDScheduleFree")
every_class = pytest.mark.parametrize(
    "cls", [c for c in CLASSES if c.__name__ not in PREPARED], ids=lambda c: c.__name__
)

# Reasons for which a result may differ from the exact result. A key is the name of an event in the computation.
ROWS = {
    "overflow": "an intermediate result is beyond the largest number of the dtype and becomes inf, as in torch",
    "lost": "a divisor underflows to zero, because the `eps` that is added to it is 0 or too small",
    "choice": "a sign or a maximum depends on two numbers that differ only by their rounding errors",
}
# The values of an option in these tests, many of them at the limits of its range. A key is the check of the option.
ENDS: dict[Any, list[Any]] = {
    checks.fraction: [0.0, 0.5, 0.9999999],
    checks.open_fraction: [1e-7, 0.5, 0.9999999],
    checks.up_to_one: [0.0, 1.0],
    checks.non_negative: [0.0, 1e-8, 1.0, 1e10],
    checks.positive: [1e-8, 1.0, 1e10],
    checks.betas: [(0.0, 0.0), (0.0, 0.9999999), (0.5, 0.999), (0.9999999, 0.0), (0.9, 0.999)],
    checks.rate: [0.0, 1e-3, 1.0, 1e30],
}
# Pairs: options of an optimizer, and arguments of its step.
STAGES: list[tuple[Options, Options]] = [
    ({}, {}),
    ({"weight_decay": 0.0}, {"clip_value": 1e30}),
    ({"weight_decay": 1e-3, "l1": 1e-3, "decay": "l2"}, {}),
    ({"weight_decay": 1.0, "l1": 0.1, "decay": "decoupled"}, {}),
    ({"weight_decay": 1e-3, "l1": 1e-3, "decay": "proximal"}, {}),
]


@pytest.fixture
def on_exact_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the NumPy references of the optimizers compute with exact numbers."""
    monkeypatch.setattr(_reference, "np", Namespace())
    for cls in fs.optim.registry.values():
        module = sys.modules[cls.reference.__module__]
        if hasattr(module, "np"):
            monkeypatch.setattr(module, "np", Namespace())


def at_their_ends(cls: Any, rng: np.random.Generator, variant: Options) -> Options:
    """Return the options in `variant`, and random values from `ENDS` for other options and for `lr`."""
    free = {n: c for n, c in cls.checks.items() if c in ENDS and n not in variant and n != "weight_decay"}
    while True:
        found = {n: ENDS[c][rng.integers(len(ENDS[c]))] for n, c in free.items()}
        found = {**found, **variant, "lr": ENDS[checks.rate][rng.integers(len(ENDS[checks.rate]))]}
        if accepted(cls, found):
            return found


def right(got: Any, want: Exact) -> bool:
    """Return True if the result `got` is within the bound of the exact number `want`.

    If `want` is beyond the largest number of the dtype, the result must be inf.
    """
    value, given = want.value, mpf(float(got))
    if CONTEXT.isnan(value) or not CONTEXT.isfinite(value):
        return bool(np.isnan(got)) if CONTEXT.isnan(value) else bool(given == value)
    if CONTEXT.isfinite(given):
        return bool(abs(given - value) <= want.error * (1 + mpf(2) ** -20))
    return bool(CONTEXT.isinf(given) and (value > 0) == (given > 0) and abs(value) + want.error > Exact.narrow.largest)


def compare(
    cls: Any, options: Options, around: tuple[Options, Options], dtype: Any, seed: int, size: int
) -> Iterator[Any]:
    """Take three steps with numbers from `grid`. Yield each result of the third step that exceeds its bound.

    `around` is a pair from `STAGES`. A result is an element of the parameter or of a state. It is yielded as a
    tuple: "p" or the name of the state, the names of the events in the computation, the result, and the exact number.
    """
    rng, values = np.random.default_rng(seed), grid(dtype)
    p = rng.choice(values, size)
    opt = cls([p], **{**options, **around[0]})
    for _ in range(2):
        opt.step([rng.choice(values[np.abs(values) < 1e5], size)])
    p[:], g = rng.choice(values, size), rng.choice(values, size)
    old, before = p.copy(), {name: a.copy() for name, a in opt.state[0].items()}
    opt.step([g], **around[1])
    group = {name: option(value) for name, value in opt.groups[0].items() if name != "params"}
    known = {name: option(value) for name, value in around[1].items()}
    for i in range(size):
        Exact.events.clear()
        state = {name: exact(a[i : i + 1] if a.shape else a) for name, a in before.items()}
        with np.errstate(all="ignore"):
            new = _reference.step(
                cls, exact(old[i : i + 1]), exact(g[i : i + 1]), state, 3, group["lr"], group, **known
            )
        for name, got, want in [
            ("p", p[i], new[0]),
            *((n, opt.state[0][n][i], state[n][0]) for n in state if before[n].shape),
        ]:
            want = want if isinstance(want, Exact) else Exact(float(want))
            if not right(got, want):
                yield name, frozenset(Exact.events), float(got), want


def assert_steps_are_exact(cls: Any, dtype: Any, seed: int, sets: int, size: int) -> Counter[str]:
    """Assert that the results of an optimizer exceed their bounds only for a reason in `ROWS`.

    Return how many results exceed their bound for each reason. `sets` is the number of sets of options. For each set,
    three steps of `size` elements are taken.
    """
    Exact.narrow, rows = Format(dtype), Counter[str]()
    rng = np.random.default_rng(seed)
    for k in range(sets):
        variant = (
            variants(cls)[rng.integers(len(variants(cls)))] if sets < 50 else variants(cls)[k % len(variants(cls))]
        )
        options, around = at_their_ends(cls, rng, variant), STAGES[k % len(STAGES)]
        for name, events, got, want in compare(cls, options, around, dtype, seed + k, size):
            value = CONTEXT.nstr(want.value, 17), CONTEXT.nstr(want.error, 3)
            assert events & {"overflow", "lost"} or (events and cls.rule in ("lion", "rprop")), (
                options,
                around,
                name,
                got,
                value,
            )
            rows[", ".join(sorted(events))] += 1
    return rows


@every_dtype
@every_class
@pytest.mark.usefixtures("on_exact_numbers")
def test_error_of_a_step_is_at_most_the_sum_of_its_rounding_errors(cls: Any, dtype: Any) -> None:
    """The exact results come from mpmath.

    An error may be larger than the sum of the rounding errors only for one of the reasons in the dict `ROWS`.
    """
    rows = assert_steps_are_exact(cls, dtype, seed=1, sets=5, size=8)
    assert set(", ".join(rows).split(", ")) <= {*ROWS, ""}


@every_dtype
@every_class
@pytest.mark.nightly
@pytest.mark.usefixtures("on_exact_numbers")
def test_error_of_a_step_is_at_most_the_sum_of_its_rounding_errors_for_100_sets_of_options(
    cls: Any, dtype: Any
) -> None:
    print(cls.__name__, dtype, dict(assert_steps_are_exact(cls, dtype, seed=2, sets=100, size=60)))


@pytest.mark.usefixtures("on_exact_numbers")
def test_bound_of_rounding_errors_detects_a_formula_with_a_wrong_factor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The wrong factor is 1 + 100 * 2**-24. One rounding changes a number by at most the factor 1 + 2**-24."""

    def step(p: Array, g: Array, state: Any, t: int, lr: Any, group: Any) -> Array:
        return p - lr * g * (1 + 100 * 2.0**-24)

    monkeypatch.setattr(fs.SGD, "reference", staticmethod(step))
    with pytest.raises(AssertionError):
        assert_steps_are_exact(fs.SGD, np.dtype(np.float32), seed=1, sets=5, size=20)


def near(got: Any, want: Any, units: float, size: Any = 0, kind: Any = np.float32) -> bool:
    """Return True if `got` differs from the exact result `want` by at most `units` ULPs of max(|`want`|, |`size`|)."""
    if CONTEXT.isnan(want) or not CONTEXT.isfinite(want):
        return bool(np.isnan(got)) if CONTEXT.isnan(want) else bool(mpf(float(got)) == want)
    form = Format(kind)
    unit = 2 * form.unit * max(abs(want), abs(mpf(size)), form.tiny)
    if abs(want) + units * unit > form.largest:
        return not np.isnan(got)
    return bool(np.isfinite(got) and abs(mpf(float(got)) - want) <= units * unit)


def layer(name: str, x: Array) -> tuple[Array, Array]:
    """Return the activation function of x, and its derivative."""
    model = nn.Sequential(getattr(nn, name)(), dtype=x.dtype)
    y = np.array(model.forward(x.reshape(-1, 1), training=True))[:, 0]
    return y, np.array(model.backward(np.ones((x.size, 1), x.dtype), need_dx=True))[:, 0]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + CONTEXT.exp(-x)) if x > -1e6 else mpf(0)


# The exact value and the exact derivative of each activation. `UNITS` has the bounds of both in ULPs. The layer
# computes the derivative from the rounded value, so the bound of the derivative is in ULPs of 1.
ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "Sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "Tanh": (CONTEXT.tanh, lambda x: 1 - CONTEXT.tanh(x) ** 2),
    "ReLU": (lambda x: x if x > 0 else mpf(0), lambda x: mpf(x > 0)),
    "HardTanh": (lambda x: max(min(x, mpf(1)), mpf(-1)), lambda x: mpf(abs(x) < 1)),
}
UNITS = {"Sigmoid": 4, "Tanh": 4, "ReLU": 0, "HardTanh": 0}


def finite(dtype: Any) -> Array:
    """Return the finite numbers of the grid, and some numbers near which the functions saturate."""
    values = grid(dtype)
    return np.concatenate(
        [values[np.isfinite(values)], np.array([-700, -104, -95, -87, -20, -5, 5, 20, 87, 95, 700], dtype)]
    )


@every_dtype
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_errors_are_within_their_bounds_in_ulps(name: str, dtype: Any) -> None:
    """If the exact sigmoid is below 8 times the smallest normal number, the result must be from 0 to this limit."""
    x = finite(dtype)
    got, slopes = layer(name, x)
    value, slope = ACTIVATIONS[name]
    for at, y, s in zip(x, got, slopes, strict=True):
        exact_y, exact_s = value(mpf(float(at))), slope(mpf(float(at)))
        if name == "Sigmoid" and exact_y < Format(dtype).tiny * 8:
            assert 0 <= y <= Format(dtype).tiny * 8, at
        else:
            assert near(y, exact_y, UNITS[name], kind=dtype), (at, y)
        assert near(s, exact_s, UNITS[name], size=1, kind=dtype), (at, s)


def test_every_activation_and_every_loss_is_tested() -> None:
    assert {cls.__name__ for cls in nn.activations.registry.values()} == set(ACTIVATIONS)
    assert set(losses.__all__) - {"Loss", "softmax"} == {
        "BinaryCrossEntropy",
        "MeanSquaredError",
        "MulticlassHinge",
        "SoftmaxNLL",
    }


@every_dtype
def test_errors_of_mean_squared_error_are_within_their_bounds_in_ulps(dtype: Any) -> None:
    """A loss that overflows or underflows is not compared. Its gradient is compared."""
    for y, t in itertools.product(finite(dtype), repeat=2):
        with np.errstate(over="ignore"):
            value, gradient = losses.MeanSquaredError().value_and_gradient(np.array([[y]]), np.array([[t]]))
        error = mpf(float(y)) - mpf(float(t))
        assert near(gradient[0, 0], 2 * error, 2, kind=dtype), (y, t)
        if abs(error) < CONTEXT.sqrt(Format(dtype).largest) and abs(error) ** 2 > Format(dtype).tiny:
            assert near(value, error**2, 3, kind=dtype), (y, t)


@every_dtype
def test_errors_of_binary_cross_entropy_are_within_their_bounds_in_ulps(dtype: Any) -> None:
    for z, t in itertools.product(finite(dtype), np.array([0.0, 1e-8, 0.3, 1.0], dtype)):
        value, gradient = losses.BinaryCrossEntropy().value_and_gradient(np.array([[z]]), np.array([[t]]))
        x, target = mpf(float(z)), mpf(float(t))
        want = max(x, mpf(0)) - x * target + CONTEXT.log1p(CONTEXT.exp(-abs(x)))
        assert near(value, want, 4, size=max(x, x * target, mpf(1)), kind=dtype), (z, t)
        assert near(gradient[0, 0], sigmoid(x) - target, 4, size=1, kind=dtype), (z, t)


@every_dtype
def test_errors_of_softmax_and_hinge_losses_are_within_their_bounds_in_ulps(dtype: Any) -> None:
    """The bounds are in ULPs of the numbers that a loss adds up, because the loss itself can be much smaller."""
    for row in itertools.product(np.array([0.0, -1e-8, 3.0, -87.0, 104.0, 1e30], dtype), repeat=3):
        z, x = np.array([row]), [mpf(float(v)) for v in row]
        top = max(x)
        total = sum(CONTEXT.exp(v - top) for v in x)
        for label in range(3):
            value, gradient = losses.SoftmaxNLL().value_and_gradient(z, np.array([label]))
            assert near(value, CONTEXT.log(total) + top - x[label], 4, size=max(top - x[label], mpf(1)), kind=dtype)
            hinge, slopes = losses.MulticlassHinge().value_and_gradient(z, np.array([label]))
            excess = [max(mpf(0), v - x[label] + 1) for k, v in enumerate(x) if k != label]
            assert near(hinge, sum(excess), 4, size=max(*map(abs, x), mpf(1)), kind=dtype), (row, label)
            for k in range(3):
                share = CONTEXT.exp(x[k] - top) / total - (k == label)
                assert near(gradient[0, k], share, 4, size=1, kind=dtype), (row, label)
            assert slopes.sum() == 0


@every_dtype
@pytest.mark.parametrize("size", [1e-30, 1e-8, 1.0, 1e8, 1e18, 1e30, 1e37])
@pytest.mark.parametrize("mean", [0.0, 1.0, 1e3])
def test_errors_of_batch_norm_are_within_their_bounds_in_ulps(size: float, mean: float, dtype: Any) -> None:
    """The inputs have the mean `size * mean` and the standard deviation `size`. `eps` is 0.

    All bounds except that of `dbeta` are proportional to `max(1, mean)`, because the subtraction of the mean cancels
    leading bits.
    """
    rng = np.random.default_rng(3)
    if size * mean > 1e39 and dtype == np.float32:
        size /= 1000
    x = (size * (mean + rng.standard_normal((64, 2)))).astype(dtype)
    dy = rng.standard_normal((64, 2)).astype(dtype)
    y, saved = fs.batch_norm(x, np.ones(2, dtype), np.zeros(2, dtype), eps=0.0)
    got = fs.batch_norm_backward(dy, saved)
    for c in range(2):
        v, d = ([mpf(float(a)) for a in array[:, c]] for array in (x, dy))
        middle = sum(v) / 64
        deviation = CONTEXT.sqrt(sum((a - middle) ** 2 for a in v) / 64)
        normal = [(a - middle) / deviation for a in v]
        slope, shift = sum(a * b for a, b in zip(d, normal, strict=True)), sum(d)
        dx = [(a - shift / 64 - b * slope / 64) / deviation for a, b in zip(d, normal, strict=True)]
        units = 16 * max(1.0, mean)
        for k in range(64):
            assert near(y[k, c], normal[k], units, size=4, kind=dtype)
            assert near(got.dx[k, c], dx[k], units, size=4 / deviation, kind=dtype)
        assert near(got.dgamma[c], slope, units, size=64, kind=dtype)
        assert near(got.dbeta[c], shift, 16, 64, dtype)


@every_dtype
def test_dropout_divides_by_the_kept_fraction_within_2_ulps(dtype: Any) -> None:
    x = grid(dtype)
    for p in (0.1, 0.5, 1 - 2.0**-16):
        y = fs.dropout(x, p, fs.Key(1, 2))
        kept = fs.dropout_mask(x.size, p, fs.Key(1, 2)).astype(bool)
        assert (y[~kept] == 0).all()
        for at, value in zip(x[kept], y[kept], strict=True):
            want = mpf(float(at)) / (1 - mpf(round(p * 65536)) / 65536) if np.isfinite(at) else mpf(float(at))
            assert near(value, want, 2, kind=dtype) or abs(want) == INF, (p, at)
