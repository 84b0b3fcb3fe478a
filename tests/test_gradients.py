"""The gradients of all layers, losses and penalties agree with finite differences in float64 (tolerance 1e-7)."""

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

# How to make the layers that need arguments, and those whose arguments select another code path.
ARGUMENTS: dict[type[nn.Layer], list[Callable[[], nn.Layer]]] = {
    nn.Linear: [lambda: nn.Linear(WIDTH, WIDTH), lambda: nn.Linear(WIDTH, WIDTH, bias=False)],
    nn.BatchNorm: [nn.BatchNorm, lambda: nn.BatchNorm(relu=True), lambda: nn.BatchNorm(momentum=None)],
    nn.Dropout: [nn.Dropout, lambda: nn.Dropout(0.3, mode="vanilla")],
    nn.Residual: [
        lambda: nn.Residual(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.BatchNorm(relu=True)),
        lambda: nn.Residual(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.2), nn.BatchNorm()),
    ],
}


def makers(kind: type[nn.Layer]) -> list[Callable[[], nn.Layer]]:
    if issubclass(kind, nn.ActivityPenalty):
        return [lambda: kind(0.5)]
    return ARGUMENTS.get(kind, [kind])


MADE = [pytest.param(make, id=f"{kind.__name__}-{i}") for kind in LAYERS for i, make in enumerate(makers(kind))]


def targets_of(loss: nn.Loss, form: str) -> Any:
    rng = np.random.default_rng(1)
    return {
        "numbers": lambda: rng.standard_normal((N, OUT)),
        "unit": lambda: rng.random((N, OUT)),
        "labels": lambda: rng.integers(0, OUT, N),
        "distributions": lambda: rng.dirichlet(np.ones(OUT), N),
    }[form]()


try:
    from fusedstep.sklearn import _losses
except ImportError:
    THEIRS: list[type[nn.Loss]] = []
else:
    named = [value for value in vars(_losses).values() if isinstance(value, type) and issubclass(value, nn.Loss)]
    THEIRS = [kind for kind in named if kind.__module__ == _losses.__name__]
CASES = [(kind, form) for kind in LOSSES for form in kind.takes]
WEIGHTS = {"plain": None, "weighted": np.arange(N, dtype=np.float64)}  # the first row has weight 0


def test_every_layer_that_can_be_saved_is_in_the_gradient_check() -> None:
    """The check includes at least four losses. Each loss lists in `takes` the kinds of targets it accepts."""
    assert set(nn._layer.LAYERS.values()) <= set(LAYERS)
    assert len(LOSSES) >= 4 and all(kind.takes for kind in LOSSES)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", MADE)
def test_gradient_of_every_layer_agrees_with_finite_differences(make: Callable[[], nn.Layer], training: bool) -> None:
    """Other layers are before and after the layer, so that its parameters and its input both need gradients."""
    layers = [nn.Linear(WIDTH, WIDTH), nn.Sigmoid(), make(), nn.Tanh(), nn.Linear(WIDTH, OUT)]
    model = nn.Sequential(*layers, dtype=np.float64, rng=3)
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((N, WIDTH)), rng.standard_normal((N, OUT))
    f = objective(model, nn.MeanSquaredError(), x, t, training=training, key=fs.Key(2))
    check = check_gradient(f)
    assert check, str(check)
    assert list(check.errors) == list(model.params)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(("kind", "form"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_gradient_of_every_loss_agrees_with_finite_differences(kind: type[nn.Loss], form: str, weights: str) -> None:
    """The loss is computed with and without a weight for each row."""
    loss, outputs = kind(), 3 * np.random.default_rng(2).standard_normal((N, OUT))
    targets = targets_of(loss, form)

    def f(theta: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        value, gradient = loss.value_and_gradient(theta.reshape(N, OUT), targets, WEIGHTS[weights])
        return value, gradient.ravel()

    check = check_gradient(f, outputs.ravel())
    assert check, str(check)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("kind", THEIRS, ids=lambda kind: kind.__name__)
def test_losses_of_the_estimators_pass_the_gradient_check(kind: type[nn.Loss], columns: int) -> None:
    """The losses of the estimators are private classes of `fusedstep.sklearn`."""
    loss, rng = kind(), np.random.default_rng(3)
    targets = rng.random((N, columns))
    # The value of SquaredError is the mean over the columns, but its gradient is that of the sum over the columns.
    factor = columns if kind.__name__ == "SquaredError" else 1

    def f(theta: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        value, gradient = loss.value_and_gradient(theta.reshape(N, columns), targets, WEIGHTS["weighted"])
        return factor * value, gradient.ravel()

    check = check_gradient(f, rng.standard_normal(N * columns))
    assert check, str(check)


@pytest.mark.parametrize("penalty", [{"weight_decay": 0.3}, {"l1": 0.2}, {"weight_decay": 0.3, "l1": 0.2}], ids=str)
def test_step_with_gradient_0_subtracts_the_gradient_of_the_penalties(penalty: dict[str, float]) -> None:
    """The penalties of the parameters theta are ``scale (l2 / 2 |theta|^2 + l1 |theta|_1)``.

    Here, l2 is `weight_decay`, and scale is `decay_scale`. The learning rate is 1.
    """
    l2, l1, scale = penalty.get("weight_decay", 0.0), penalty.get("l1", 0.0), 0.25

    def f(theta: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        after = theta.copy()
        fs.SGD([after], lr=1.0, decay="l2", **penalty).step([np.zeros_like(theta)], decay_scale=scale)
        return scale * float(l2 / 2 * theta @ theta + l1 * np.abs(theta).sum()), theta - after

    check = check_gradient(f, np.random.default_rng(4).standard_normal(20))
    assert check, str(check)
