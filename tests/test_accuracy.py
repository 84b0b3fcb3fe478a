"""The accuracy of the update rules, compared with float64, with torch, and with the known solution of a problem."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from support.bits import Array, every_dtype
from support.oracle import Options, every_class, every_class_of_torch, every_variant, variants

STEPS = 100
# Largest allowed difference from torch's parameters after 100 steps, divided by max(|parameter|, 1).
TOLERANCE = {"float32": 1e-6, "float64": 1e-14}


def run_ours(cls: Any, options: Options, p: Array, grads: list[Array]) -> Array:
    mine = p.copy()
    opt = cls([mine], **options)
    for g in grads:
        opt.step([g])
    return mine


def run_torch(torch: Any, theirs: Any, options: Options, p: Array, grads: list[Array]) -> Array:
    leaf = torch.from_numpy(p.copy()).requires_grad_()
    opt = theirs([leaf], **options)
    for g in grads:
        leaf.grad = torch.from_numpy(g)
        opt.step()
    return np.asarray(leaf.detach().numpy())


@every_dtype
@every_class_of_torch
def test_100_steps_agree_with_torch(cls: Any, dtype: Any, torch: Any, rng: np.random.Generator) -> None:
    theirs = getattr(torch.optim, cls.__name__)
    p = rng.uniform(0.5, 1.5, 200).astype(dtype)
    grads = [rng.standard_normal(200).astype(dtype) for _ in range(STEPS)]
    known = inspect.signature(theirs).parameters
    ours = [o for o in variants(cls) if o.keys() <= known.keys()]
    assert ours
    for options in ours:
        for more in ({}, {"weight_decay": 0.1, "maximize": True}):
            every = {"lr": 1e-2, **options, **{name: value for name, value in more.items() if name in known}}
            got, want = run_ours(cls, every, p, grads), run_torch(torch, theirs, every, p, grads)
            error = np.max(np.abs(got - want) / np.maximum(np.abs(want), 1))
            assert error <= TOLERANCE[dtype.name], every


@every_class_of_torch
def test_defaults_are_those_of_torch(cls: Any, torch: Any) -> None:
    theirs = getattr(torch.optim, cls.__name__)
    known = inspect.signature(theirs).parameters
    mine = inspect.signature(cls).parameters
    for name in (set(cls.checks) | {"lr"}) & known.keys():
        assert mine[name].default == known[name].default, name


@every_variant
def test_float32_step_differs_from_float64_step_only_by_roundings(
    cls: Any, options: Options, rng: np.random.Generator
) -> None:
    """The allowed difference is half an ulp for each rounding of the float32 step.

    The test counts 10 roundings for computing the change of a parameter, one for adding the change, and one for weight
    decay if there is any. For the 10 roundings, the ulp is that of the largest change. For the others, it is that of
    the new parameter.
    """
    p = rng.uniform(-1, 1, 2000).astype(np.float32)
    single, double = (cls([p.astype(t)], lr=1.0, **options) for t in (np.float32, np.float64))
    for _ in range(4):
        single.step([rng.standard_normal(p.size).astype(np.float32)])
    state = single.state_dict()
    state["state"] = {0: {n: a.astype(np.float64) for n, a in state["state"][0].items()}}
    double.load_state_dict(state)
    double.params[0][...] = before = single.params[0].copy()
    g = rng.standard_normal(p.size).astype(np.float32)
    single.step([g])
    double.step([g.astype(np.float64)])
    exact = double.params[0]
    largest = np.max(np.abs(exact - before))
    sums = 1 + bool(single.groups[0]["weight_decay"])
    bound = 0.5 * sums * np.spacing(np.abs(exact).astype(np.float32)) + 5 * np.spacing(np.float32(largest))
    assert (np.abs(single.params[0] - exact) <= bound).all()
    assert largest > 1e-3, "the step must change the parameters, otherwise the test shows nothing"


@every_variant
def test_every_rule_finds_the_minimum_of_a_quadratic(cls: Any, options: Options, rng: np.random.Generator) -> None:
    """At least one of three learning rates must reduce the loss by a factor of 1,000 within 1,000 steps."""
    assert min(quadratic(cls, options, lr, rng) for lr in (0.01, 0.1, 10.0)) < 1e-3


def quadratic(cls: Any, options: Options, lr: float, rng: np.random.Generator) -> float:
    """Minimize a quadratic function. Return the last loss divided by the first loss."""
    curvature, goal = rng.uniform(0.5, 1.5, 20), rng.uniform(-1, 1, 20)
    x = rng.uniform(-1, 1, 20)
    opt = cls([x], lr=lr, **options)
    first = loss = float(curvature @ (x - goal) ** 2)
    with np.errstate(all="ignore"):
        for _ in range(1000):
            opt.step([2 * curvature * (x - goal)])
            loss = float(curvature @ (x - goal) ** 2)
            if not 1e-3 * first <= loss < 1e6 * first:
                break
    return loss / first


@every_class
def test_maximize_equals_a_step_with_the_negative_gradient(cls: Any, rng: np.random.Generator) -> None:
    p, g = rng.standard_normal((2, 50))
    up, down = p.copy(), p.copy()
    cls([up], lr=0.1, maximize=True).step([g])
    cls([down], lr=0.1).step([-g])
    assert up.tobytes() == down.tobytes() and (up != p).all()


def test_centered_variance_that_is_rounded_below_zero_does_not_give_nan() -> None:
    """With `centered`, the variance is the average of g² minus the square of the average of g. g is the gradient.

    If g is the same in every step, this difference is nearly 0, and rounding may make it negative.
    """
    for cls, options in ((c.values[0], c.values[1]) for c in every_variant.args[1]):
        if not options.get("centered"):
            continue
        p = np.zeros(1000, np.float32)
        opt = cls([p], lr=0.01, **options)
        g = np.linspace(0.1, 10, 1000, dtype=np.float32)
        for _ in range(2000):
            opt.step([g])
        assert np.isfinite(p).all()


@every_class
def test_proximal_decay_gives_exact_zeros_and_equals_its_formula(cls: Any, rng: np.random.Generator) -> None:
    p = rng.standard_normal(1000)
    plain, shrunk = p.copy(), p.copy()
    g = rng.standard_normal(1000)
    cls([plain], lr=0.1, weight_decay=0.0).step([g])
    cls([shrunk], lr=0.1, decay="proximal", l1=3.0, weight_decay=2.0).step([g])
    # lr * l1 = 0.3 and 1 + lr * weight_decay = 1.2
    np.testing.assert_allclose(shrunk, np.sign(plain) * np.maximum(abs(plain) - 0.3, 0) / 1.2, rtol=0, atol=1e-15)
    assert 100 < (shrunk == 0).sum() < 900


@every_class
def test_ema_is_the_exponential_moving_average_of_the_parameters(cls: Any, rng: np.random.Generator) -> None:
    p = rng.standard_normal(100)
    opt, want = cls([p], ema_decay=0.75), p.copy()
    for _ in range(5):
        opt.step([rng.standard_normal(100)])
        want = want + 0.25 * (p - want)
    np.testing.assert_array_equal(opt.ema[0], want)
