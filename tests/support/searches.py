"""A smooth function for the tests of searches, and a fixture that suppresses the messages of Optuna."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

optuna = pytest.importorskip("optuna")

Float = optuna.distributions.FloatDistribution
SPACE = {"x": Float(0.0, 1.0), "lr": Float(1e-4, 1.0, log=True)}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Suppress the message that Optuna logs for every trial."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


def valley(trial: Any) -> float:
    """Return the value of a function of x and lr, which has the minimum at x = 0.3, lr = 0.03."""
    x, lr = trial.suggest_float("x", 0.0, 1.0), trial.suggest_float("lr", 1e-4, 1.0, log=True)
    return float((x - 0.3) ** 2 + (math.log10(lr / 0.03)) ** 2)
