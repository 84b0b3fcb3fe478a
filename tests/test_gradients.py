"""Every layer and every loss of `fusedstep.nn` passes the gradient check, in float64 at 1e-7."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import nn
from fusedstep.inspect import check_gradient, objective

N, WIDTH, OUT = 6, 5, 4

PUBLIC = [value for value in (getattr(nn, name) for name in nn.__all__) if isinstance(value, type)]
LOSSES = [kind for kind in PUBLIC if issubclass(kind, nn.Loss) and kind is not nn.Loss]
LAYERS = [kind for kind in PUBLIC if issubclass(kind, nn.Layer) and kind not in (nn.Layer, nn.ActivityPenalty)]

# What cannot be made without arguments.
ARGUMENTS: dict[type[nn.Layer], Callable[[], nn.Layer]] = {
    nn.Linear: lambda: nn.Linear(WIDTH, WIDTH),
    nn.Residual: lambda: nn.Residual(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.BatchNorm(relu=True)),
}


def make(kind: type[nn.Layer]) -> nn.Layer:
    if kind in ARGUMENTS:
        return ARGUMENTS[kind]()
    return kind(0.5) if issubclass(kind, nn.ActivityPenalty) else kind()


def targets_of(loss: nn.Loss, form: str) -> Any:
    rng = np.random.default_rng(1)
    return {
        "numbers": lambda: rng.standard_normal((N, OUT)),
        "unit": lambda: rng.random((N, OUT)),
        "labels": lambda: rng.integers(0, OUT, N),
        "distributions": lambda: rng.dirichlet(np.ones(OUT), N),
    }[form]()


CASES = [(kind, form) for kind in LOSSES for form in kind.takes]


def test_every_layer_that_can_be_saved_is_checked() -> None:
    assert set(nn.saving.LAYERS.values()) <= set(LAYERS)
    assert len(LOSSES) >= 4 and all(kind.takes for kind in LOSSES)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_layers(kind: type[nn.Layer], training: bool) -> None:
    """Between other layers, so that the gradients of its parameters and of its input are both needed."""
    layers = [nn.Linear(WIDTH, WIDTH), nn.Sigmoid(), make(kind), nn.Tanh(), nn.Linear(WIDTH, OUT)]
    model = nn.Sequential(*layers, dtype=np.float64, rng=3)
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((N, WIDTH)), rng.standard_normal((N, OUT))
    f = objective(model, nn.MeanSquaredError(), x, t, training=training, key=fs.Key(2))
    check = check_gradient(f)
    assert check, str(check)
    assert list(check.errors) == list(model.params)


@pytest.mark.parametrize(("kind", "form"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_losses(kind: type[nn.Loss], form: str) -> None:
    loss, outputs = kind(), 3 * np.random.default_rng(2).standard_normal((N, OUT))
    targets = targets_of(loss, form)

    def f(theta: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        value, gradient = loss.value_and_gradient(theta.reshape(N, OUT), targets)
        return value, gradient.ravel()

    check = check_gradient(f, outputs.ravel())
    assert check, str(check)
