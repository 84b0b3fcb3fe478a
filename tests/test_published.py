"""Optimizers that PyTorch does not have are compared with formulas from the papers and from their authors' code."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from support.bits import Array

Step = Callable[[Array, Array, int], Array]


def ademamix(betas: tuple[float, float, float], alpha: float, warmup: int, lr: float, weight_decay: float) -> Step:
    """Return a function that takes a step of algorithm 1 in Pagliardini et al. (2024).

    alpha and beta3 follow the schedules of section 3.
    """
    b1, b2, b3 = betas
    m1, m2, v = 0.0, 0.0, 0.0

    def step(p: Array, g: Array, t: int) -> Array:
        nonlocal m1, m2, v
        a, b = alpha, b3
        if warmup:
            a = min(t * alpha / warmup, alpha)
            s = t / warmup
            b = min(math.exp(math.log(b1) * math.log(b3) / ((1 - s) * math.log(b3) + s * math.log(b1))), b3)
        m1 = b1 * m1 + (1 - b1) * g
        m2 = b * m2 + (1 - b) * g
        v = b2 * v + (1 - b2) * g * g
        direction = (m1 / (1 - b1**t) + a * m2) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
        return p - lr * (direction + weight_decay * p)

    return step


def schedule_free(
    lr: float, beta: float, weight_decay: float, warmup: int, r: float, beta2: float | None, weight_lr_power: float
) -> Step:
    """Return a function that takes a step of algorithm 1 in Defazio et al. (2024).

    The weights of the average are those in the authors' code.
    """
    x: Any = None
    z: Any = None
    v, total, largest = 0.0, 0.0, 0.0

    def step(y: Array, g: Array, t: int) -> Array:
        nonlocal x, z, v, total, largest
        x, z = (y, y) if t == 1 else (x, z)
        rate = lr * min(t / warmup, 1) if warmup else lr
        d = g
        if beta2 is not None:
            v = beta2 * v + (1 - beta2) * g * g
            d = g / (np.sqrt(v / (1 - beta2**t)) + 1e-8)
        d = d + weight_decay * y
        largest = max(largest, rate)
        weight = t**r * largest**weight_lr_power
        total += weight
        c = weight / total
        z = z - rate * d
        x = (1 - c) * x + c * z
        return np.asarray(beta * x + (1 - beta) * z)

    return step


def lamb(betas: tuple[float, float], lr: float, weight_decay: float) -> Step:
    """Return a function that takes a step of algorithm 2 in You et al. (2020)."""
    b1, b2 = betas
    m, v = 0.0, 0.0

    def step(p: Array, g: Array, t: int) -> Array:
        nonlocal m, v
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        r = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-6) + weight_decay * p
        length = np.linalg.norm(p)
        return p - lr * (length / np.linalg.norm(r) if length > 0 else 1.0) * r

    return step


def lars(lr: float, momentum: float, weight_decay: float, trust: float) -> Step:
    """Return a function that takes a step of algorithm 1 in You et al. (2017)."""
    v = 0.0

    def step(p: Array, g: Array, t: int) -> Array:
        nonlocal v
        length = np.linalg.norm(p)
        local = trust * length / (np.linalg.norm(g) + weight_decay * length) if length > 0 else 1.0
        v = momentum * v + lr * local * (g + weight_decay * p)
        return np.asarray(p - v)

    return step


CASES: dict[str, tuple[Any, dict[str, Any], Callable[[], Step]]] = {
    "AdEMAMix": (
        fs.AdEMAMix,
        {"lr": 0.01, "betas": (0.8, 0.95, 0.99), "alpha": 5.0, "weight_decay": 0.1},
        lambda: ademamix((0.8, 0.95, 0.99), 5.0, 0, 0.01, 0.1),
    ),
    "AdEMAMix with warm-up": (
        fs.AdEMAMix,
        {"lr": 0.01, "betas": (0.8, 0.95, 0.99), "alpha": 5.0, "alpha_warmup": 60, "beta3_warmup": 60},
        lambda: ademamix((0.8, 0.95, 0.99), 5.0, 60, 0.01, 0.0),
    ),
    "SGDScheduleFree": (
        fs.SGDScheduleFree,
        {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.1},
        lambda: schedule_free(0.05, 0.8, 0.1, 0, 0.0, None, 2.0),
    ),
    "SGDScheduleFree with warm-up": (
        fs.SGDScheduleFree,
        {"lr": 0.05, "warmup_steps": 20, "r": 0.5, "weight_lr_power": 1.5},
        lambda: schedule_free(0.05, 0.9, 0.0, 20, 0.5, None, 1.5),
    ),
    "LAMB": (
        fs.LAMB,
        {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1},
        lambda: lamb((0.8, 0.95), 0.01, 0.1),
    ),
    "LARS": (
        fs.LARS,
        {"lr": 0.2, "momentum": 0.8, "weight_decay": 0.1, "trust_coefficient": 0.05},
        lambda: lars(0.2, 0.8, 0.1, 0.05),
    ),
    "AdamWScheduleFree": (
        fs.AdamWScheduleFree,
        {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.1, "warmup_steps": 10},
        lambda: schedule_free(0.02, 0.8, 0.1, 10, 0.0, 0.95, 2.0),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_100_steps_agree_with_the_published_algorithm(name: str, rng: np.random.Generator) -> None:
    """The optimizer and the published algorithm minimize a quadratic. Equal noise is added to their gradients."""
    cls, options, make = CASES[name]
    curvature, goal = rng.uniform(0.5, 1.5, 30), rng.standard_normal(30)
    mine, want, published = np.zeros(30), np.zeros(30), make()
    opt = cls([mine], **options)
    for t in range(1, 101):
        noise = 0.1 * rng.standard_normal(30)
        opt.step([curvature * (mine - goal) + noise])
        want = published(want, curvature * (want - goal) + noise, t)
    np.testing.assert_allclose(mine, want, rtol=0, atol=1e-12)
    assert (np.abs(mine) > 1e-3).all(), "a parameter near 0 could hide a large relative difference"
