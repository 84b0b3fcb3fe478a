"""Layers and models that a user wrote: their methods are called, and arrays that are still needed do not change."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fusedstep import nn

Array = np.ndarray[Any, Any]
# Layers that may write their output over their input.
IN_PLACE = [nn.ReLU, nn.Tanh, nn.HardTanh, nn.Sigmoid, nn.Dropout]


class Doubled(nn.Linear):
    """A Linear whose forward pass returns twice the usual output."""

    def forward(self, x: Array, training: bool) -> Array:
        return 2 * super().forward(x, training)


class Identity(nn.Layer):
    """A layer that returns its input."""

    def forward(self, x: Array, training: bool) -> Array:
        return x

    def backward(self, dy: Array, need_dx: bool) -> Array:
        return dy


def batch(shape: tuple[int, int] = (6, 4)) -> Array:
    return np.random.default_rng(0).standard_normal(shape)


def test_forward_of_a_subclass_of_linear_is_called_if_a_relu_follows() -> None:
    """For a plain Linear, the ReLU behind it adds the bias, and `Linear.forward` is not called."""
    x = batch()
    ours, theirs = (nn.Sequential(kind(4, 3), nn.ReLU(), dtype=np.float64, rng=0) for kind in (nn.Linear, Doubled))
    assert np.array_equal(theirs.forward(x), 2 * ours.forward(x))


@pytest.mark.parametrize("behind", IN_PLACE)
def test_callers_array_is_unchanged_if_the_first_layer_returns_its_input(behind: type[nn.Layer]) -> None:
    x = batch()
    model = nn.Sequential(Identity(), behind(), dtype=np.float64, rng=0)
    model.forward(x, training=True)
    model.predict(x)
    assert np.array_equal(x, batch())


@pytest.mark.parametrize("behind", IN_PLACE)
def test_output_that_backward_needs_is_not_overwritten_if_the_next_layer_returns_its_input(
    behind: type[nn.Layer],
) -> None:
    """The backward pass of Sigmoid needs the output of Sigmoid.

    `Identity` returns its input, so the layer `behind` gets the output of Sigmoid. In other models, `behind` may write
    its output over its input. Here, `behind` must not do this. The gradients with and without `Identity` must be equal.
    """
    x, grads = batch(), list[Array]()
    for between in ([], [Identity()]):
        model = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid(), *between, behind(), dtype=np.float64, rng=0)
        model.forward(x, training=True)
        model.backward(np.ones((6, 3)))
        grads.append(model.grad_arena)
    assert np.array_equal(grads[0], grads[1])


@pytest.mark.parametrize("last", [Identity(), nn.L1Activity(0.0), nn.KLActivity(0.1)])
@pytest.mark.parametrize("before", [*IN_PLACE, nn.BatchNorm])
def test_callers_array_is_unchanged_if_the_last_layer_returns_dy(before: type[nn.Layer], last: nn.Layer) -> None:
    last = type(last)(**last.config())  # a new layer, because no layer can belong to two models
    model = nn.Sequential(nn.Linear(4, 3), before(), last, dtype=np.float64, rng=0)
    dy = batch((6, 3))
    model.forward(batch())
    model.backward(dy)
    assert np.array_equal(dy, batch((6, 3)))


def test_backward_is_refused_after_a_forward_pass_that_failed() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm(), dtype=np.float64, rng=0)
    model.forward(batch((1, 4)))
    with pytest.raises(ValueError, match="must be an array with more than one value per channel"):
        model.forward(2 * batch((1, 4)), training=True)
    with pytest.raises(RuntimeError, match="must be called after a forward pass"):
        model.backward(np.ones((1, 3)))


class Rounded(Identity):
    """A layer that returns its input and its gradient as float16."""

    def forward(self, x: Array, training: bool) -> Array:
        return x.astype(np.float16)

    backward = forward


def test_linear_accepts_float16_input_in_a_float32_model() -> None:
    """The layer `Rounded` between two Linear layers returns float16. All numbers are exact in float16.

    So the gradients equal those of a model without `Rounded`.
    """
    x = np.trunc(4 * batch())
    layers = nn.Linear(4, 3), nn.Linear(3, 2)
    plain, mixed = (
        nn.Sequential(*map(copy.deepcopy, all_of)) for all_of in (layers, (layers[0], Rounded(), layers[1]))
    )
    for model in (plain, mixed):
        model.arena[...] = np.arange(model.arena.size) % 3
        model.backward(np.sign(model.forward(x.astype(np.float32), training=True)))
    assert plain.grad_arena.any()
    assert np.array_equal(plain.grad_arena, mixed.grad_arena)


def test_model_accepts_its_own_output_as_input() -> None:
    """The result of a forward pass is the input of the next forward pass. The same holds for backward passes."""
    model = nn.Sequential(nn.Linear(4, 4), dtype=np.float64, rng=0)
    weight, y, dx = model.params["0.weight"], model.forward(batch()), batch()
    for power in range(2, 4):
        y = model.forward(y)
        np.testing.assert_allclose(y, batch() @ np.linalg.matrix_power(weight, power), rtol=1e-12, atol=1e-12)
    for power in range(1, 4):
        dx = model.backward(dx, need_dx=True)
        np.testing.assert_allclose(dx, batch() @ np.linalg.matrix_power(weight.T, power), rtol=1e-12, atol=1e-12)


class Twice(nn.Sequential):
    """A subclass of Sequential with an attribute that its forward pass uses."""

    factor = 1.0

    def forward(self, x: Array, training: bool = False) -> Array:
        return self.factor * super().forward(x, training)


@pytest.mark.parametrize(
    "renew", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), lambda m: m.astype(np.float64)]
)
def test_copy_has_the_class_and_attributes_of_the_model(renew: Callable[[nn.Sequential], nn.Sequential]) -> None:
    model = Twice(nn.Linear(4, 3), nn.ReLU(), dtype=np.float64, rng=0)
    model.factor = 2.0
    again = renew(model)
    assert type(again) is Twice
    assert np.array_equal(again.predict(batch()), model.predict(batch()))
    assert again.predict(batch()).any()
    assert not np.shares_memory(again.arena, model.arena)
