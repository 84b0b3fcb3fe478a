"""Gradients of layers and losses are compared with central differences, and losses and gradients with torch's."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fusedstep import nn
from fusedstep.nn import linear, sequential
from support.slopes import assert_same_gradient, differences

ACTIVATIONS = [nn.ReLU, nn.Tanh, nn.HardTanh, nn.Sigmoid]
N, WIDTH, OUT = 6, 5, 4

Targets = Callable[[np.random.Generator], Any]
LOSSES: dict[str, tuple[Callable[[], nn.Loss], Targets]] = {
    "mse": (nn.MeanSquaredError, lambda rng: rng.standard_normal((N, OUT))),
    "bce": (nn.BinaryCrossEntropy, lambda rng: rng.random((N, OUT))),
    "nll": (nn.SoftmaxNLL, lambda rng: rng.integers(0, OUT, N)),
    "nll_soft": (nn.SoftmaxNLL, lambda rng: rng.dirichlet(np.ones(OUT), N)),
    "nll_unnormalised": (nn.SoftmaxNLL, lambda rng: rng.random((N, OUT))),
    "hinge": (lambda: nn.MulticlassHinge(0.7), lambda rng: rng.integers(0, OUT, N)),
}


def small_model(*hidden: type[nn.Layer], dtype: Any = np.float64, rng: int = 3) -> nn.Sequential:
    layers: list[nn.Layer] = []
    for kind in hidden:
        layers += [nn.Linear(WIDTH, WIDTH), kind()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, OUT), dtype=dtype, rng=rng)


@pytest.mark.parametrize("loss_name", LOSSES)
@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_gradients_of_every_parameter_and_of_the_input_agree_with_finite_differences(
    kind: type[nn.Layer], loss_name: str
) -> None:
    """The model has two hidden layers with the same activation."""
    rng = np.random.default_rng(0)
    make_loss, make_targets = LOSSES[loss_name]
    loss, targets, model = make_loss(), make_targets(rng), small_model(kind, kind)
    x = rng.standard_normal((N, WIDTH))
    _, dy = loss.value_and_gradient(model.forward(x, training=True), targets)
    dx = model.backward(dy, need_dx=True)
    assert dx is not None
    dx, grads = dx.copy(), {name: g.copy() for name, g in model.grads.items()}

    def value() -> float:
        return loss(model.forward(x, training=True), targets)

    assert_same_gradient(dx, differences(value, x))
    for name, array in model.params.items():
        assert_same_gradient(grads[name], differences(value, array))


@pytest.mark.parametrize("loss_name", LOSSES)
def test_gradient_of_every_loss_agrees_with_finite_differences(loss_name: str) -> None:
    rng = np.random.default_rng(1)
    make_loss, make_targets = LOSSES[loss_name]
    loss, targets, outputs = make_loss(), make_targets(rng), 3 * rng.standard_normal((N, OUT))
    analytic = loss.gradient(outputs, targets).copy()
    assert_same_gradient(analytic, differences(lambda: loss(outputs, targets), outputs))


@pytest.mark.parametrize(
    "kinds",
    [
        (nn.Tanh, nn.ReLU),
        (nn.ReLU, nn.Linear),
        (nn.ReLU, nn.Sigmoid, nn.HardTanh),
        (nn.Linear, nn.ReLU, nn.Tanh, nn.Sigmoid),
        (nn.Sigmoid, nn.Linear, nn.Tanh, nn.Tanh),
    ],
)
def test_gradient_agrees_with_finite_differences_if_activations_are_first_or_consecutive(
    kinds: tuple[Any, ...],
) -> None:
    """Activations work in place if possible. But the model's input and the argument of `backward` must not change.

    After a forward pass with `training=False`, `backward` gives the same gradient as after one with `training=True`.
    """
    rng = np.random.default_rng(2)
    layers = [kind(WIDTH, WIDTH) if kind is nn.Linear else kind() for kind in kinds]
    model, loss = nn.Sequential(*layers, dtype=np.float64, rng=0), nn.MeanSquaredError()
    x, t = rng.standard_normal((N, WIDTH)), rng.standard_normal((N, WIDTH))
    x_before = x.copy()
    dy = loss.gradient(model.forward(x, training=True), t)
    dy_before = dy.copy()
    dx = model.backward(dy, need_dx=True)
    assert dx is not None
    assert np.array_equal(x, x_before), "forward must not change its input"
    assert np.array_equal(dy, dy_before), "backward must not change its argument"
    dx = dx.copy()
    assert_same_gradient(dx, differences(lambda: loss(model.forward(x), t), x))
    again = model.backward(loss.gradient(model.forward(x), t), need_dx=True)
    assert again is not None and np.array_equal(again, dx)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_loss_and_gradients_of_a_network_agree_with_torch(kind: type[nn.Layer], torch: Any) -> None:
    """The network has one hidden layer and a softmax loss, in float32."""
    theirs_of = {
        "ReLU": torch.relu,
        "Tanh": torch.tanh,
        "Sigmoid": torch.sigmoid,
        "HardTanh": torch.nn.Hardtanh(),
    }
    theirs = theirs_of[kind.__name__]
    rng = np.random.default_rng(0)
    model, loss = small_model(kind, dtype=np.float32), nn.SoftmaxNLL()
    x, labels = rng.standard_normal((N, WIDTH)).astype(np.float32), rng.integers(0, OUT, N)
    value, dy = loss.value_and_gradient(model.forward(x, training=True), labels)
    model.backward(dy)
    p = [torch.tensor(a, requires_grad=True) for a in model.params.values()]
    out = theirs(torch.from_numpy(x) @ p[0] + p[1]) @ p[2] + p[3]
    their_loss = torch.nn.functional.cross_entropy(out, torch.from_numpy(labels))
    their_loss.backward()
    assert value == pytest.approx(their_loss.item(), rel=1e-6)
    for ours, tensor in zip(model.grads.values(), p, strict=True):
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("module", [linear, sequential])
def test_docstring_examples_run(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0


def test_every_layer_stores_the_size_of_the_largest_weight_of_the_model() -> None:
    """The size is a number of elements, here 30 * 50. A layer inside a residual block stores it too."""
    inner = nn.Linear(30, 40, bias=False)
    residual = nn.Residual(inner, nn.Linear(40, 30, bias=False), nn.BatchNorm())
    model = nn.Sequential(nn.Linear(20, 30), residual, nn.Linear(30, 50))
    assert {layer.largest_weight for layer in (*model.layers, inner)} == {1500}
