"""Penalties on activations have the values and gradients of their formulas, and act only in training."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import nn
from support.slopes import assert_same_gradient, differences

Array = np.ndarray[Any, Any]
FORMULAS: dict[type[nn.ActivityPenalty], Any] = {
    nn.L1Activity: lambda h: np.abs(h).sum() / len(h),
    nn.StudentTActivity: lambda h: np.log(1 + h**2).sum() / len(h),
    nn.KLActivity: lambda h: np.sum(
        0.05 * np.log(0.05 / h.mean(axis=0)) + 0.95 * np.log(0.95 / (1 - h.mean(axis=0)))
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activity_penalty_equals_its_formula_in_training_and_is_0_in_prediction(
    kind: type[nn.ActivityPenalty], dtype: Any
) -> None:
    """The output of the layer is its input `h`, unchanged."""
    h = np.random.default_rng(0).random((6, 5)).astype(dtype)
    model = nn.Sequential(kind(0.3), dtype=dtype)
    assert np.array_equal(model.forward(h, training=True), h)
    assert model.penalty == pytest.approx(0.3 * FORMULAS[kind](h.astype(np.float64)), rel=1e-6)
    assert np.array_equal(model.forward(h), h) and model.penalty == 0


@pytest.mark.parametrize("kind", FORMULAS)
def test_gradients_with_penalties_agree_with_finite_differences_and_model_penalty_is_the_sum_over_layers(
    kind: type[nn.ActivityPenalty],
) -> None:
    """The model has a penalty after each of two hidden layers. The gradients are those of loss + penalties."""
    rng = np.random.default_rng(1)
    layers = [nn.Linear(4, 5), nn.Sigmoid(), kind(0.2), nn.Linear(5, 3), nn.Sigmoid(), kind(0.1), nn.ReLU()]
    model, loss = nn.Sequential(*layers, nn.Linear(3, 2), dtype=np.float64, rng=0), nn.MeanSquaredError()
    x, t = rng.standard_normal((6, 4)), rng.standard_normal((6, 2))

    def value() -> float:
        return loss(model.forward(x, training=True), t) + model.penalty

    value()
    dx = model.backward(loss.gradient(model.forward(x, training=True), t), need_dx=True)
    grads = {name: g.copy() for name, g in model.grads.items()}
    assert dx is not None
    assert_same_gradient(dx.copy(), differences(value, x))
    for name, array in model.params.items():
        assert_same_gradient(grads[name], differences(value, array))
    assert model.penalty == pytest.approx(sum(layer.penalty for layer in layers))
    assert model.penalty > 0


def test_penalty_does_nothing_with_weight_0_or_outside_training() -> None:
    x, dy = np.random.default_rng(0).random((3, 4)), np.ones((3, 4))
    for weight, training in ((0.0, True), (1.0, False)):
        model = nn.Sequential(nn.L1Activity(weight), dtype=np.float64)
        model.forward(x, training=training)
        assert model.penalty == 0
        assert np.array_equal(model.backward(dy, need_dx=True), dy)


def test_model_penalty_includes_penalties_inside_residual_blocks() -> None:
    block = nn.Residual(nn.Linear(4, 4), nn.ReLU(), nn.L1Activity(1.0), nn.BatchNorm())
    model = nn.Sequential(nn.Linear(3, 4), block, rng=0)
    model.forward(np.ones((5, 3), np.float32) + np.arange(5, dtype=np.float32)[:, None], training=True)
    assert model.penalty > 0


def activity(penalty: nn.ActivityPenalty | None, hidden: type[nn.Layer]) -> Array:
    """Train a small auto-encoder whose hidden layer has the activation function `hidden`, with or without a penalty.

    Return the hidden activations.
    """
    x = np.random.default_rng(0).random((64, 8)).astype(np.float32)
    layers = [nn.Linear(8, 16), hidden(), *([penalty] if penalty else [])]
    model, loss = nn.Sequential(*layers, nn.Linear(16, 8), rng=0), nn.MeanSquaredError()
    opt = fs.Adam(model.params, lr=0.02)
    for _ in range(150):
        model.backward(loss.gradient(model.forward(x, training=True), x))
        opt.step(model.grads)
    weights = copy.deepcopy(model.params)
    encoder = nn.Sequential(nn.Linear(8, 16), hidden(), rng=0)
    encoder.load_state_dict({name: weights[name] for name in encoder.params})
    return encoder.predict(x)


def test_l1_activity_penalty_reduces_the_number_of_active_units() -> None:
    plain, sparse = activity(None, nn.ReLU), activity(nn.L1Activity(0.02), nn.ReLU)
    assert (sparse > 0).mean() < 0.6 * (plain > 0).mean()


def test_kl_penalty_brings_the_mean_activation_of_every_unit_close_to_rho() -> None:
    """Without the penalty, some mean activations are not close to rho."""
    rates = activity(nn.KLActivity(0.5, rho=0.1), nn.Sigmoid).mean(axis=0)
    assert np.abs(rates - 0.1).max() < 0.03 < np.abs(activity(None, nn.Sigmoid).mean(axis=0) - 0.1).max()


def test_kl_penalty_is_finite_if_mean_activations_are_0_or_1() -> None:
    """The gradient of the penalty is also finite. A step of gradient descent moves each mean towards rho, here 0.1."""
    model = nn.Sequential(nn.KLActivity(1.0, 0.1), dtype=np.float32)
    model.forward(np.array([[0, 1], [0, 1]], np.float32), training=True)
    slope = model.backward(np.zeros((2, 2), np.float32), need_dx=True)
    assert np.isfinite(model.penalty)
    assert slope is not None
    assert np.isfinite(slope).all()
    assert (slope[:, 0] < 0).all(), "the gradient must be negative where activations are 0"
    assert (slope[:, 1] > 0).all(), "the gradient must be positive where activations are 1"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.L1Activity(-1), r"L1Activity: weight must be at least 0; got -1"),
        (lambda: nn.KLActivity(1.0, rho=1.0), r"KLActivity: rho must be above 0 and below 1; got 1\.0"),
        (lambda: nn.KLActivity(1.0, rho=0.0), r"KLActivity: rho must be above 0 and below 1; got 0\.0"),
        (
            lambda: nn.Sequential(nn.KLActivity(1.0)).forward(np.full((2, 3), -0.5, np.float32), training=True),
            r"KLActivity: mean activations must be from 0 to 1, as after a Sigmoid; got -0\.5",
        ),
    ],
)
def test_activity_penalties_refuse_wrong_arguments(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
