"""Dropout layers in a network: masks, gradients, saved random streams, and Monte Carlo prediction."""

from __future__ import annotations

import copy
import doctest
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import nn
from support.slopes import assert_same_gradient, differences

N, WIDTH, OUT = 6, 5, 4
# Where the dropout layer is: the layers of a model before its last Linear layer.
BLOCKS: dict[str, Callable[[], list[nn.Layer]]] = {
    "first": lambda: [nn.Dropout(0.3)],
    "vanilla": lambda: [nn.Linear(WIDTH, WIDTH), nn.Dropout(0.3, "vanilla")],
    "after a tanh": lambda: [nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Dropout(0.3)],
    "before an in-place activation": lambda: [nn.Linear(WIDTH, WIDTH), nn.Sigmoid(), nn.Dropout(0.5), nn.Tanh()],
    "two in sequence": lambda: [nn.Linear(WIDTH, WIDTH), nn.Dropout(0.2), nn.Dropout(0.2), nn.ReLU()],
    "with batch norm": lambda: [nn.Linear(WIDTH, WIDTH), nn.BatchNorm(relu=True), nn.Dropout(0.3)],
    "in a residual": lambda: [nn.Residual(nn.Dropout(0.3), nn.Linear(WIDTH, WIDTH), nn.BatchNorm(relu=True))],
}


def small_model(block: str, dtype: Any = np.float64) -> nn.Sequential:
    return nn.Sequential(*BLOCKS[block](), nn.Linear(WIDTH, OUT), dtype=dtype, rng=3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("block", BLOCKS)
def test_gradient_with_a_fixed_dropout_mask_agrees_with_finite_differences(block: str, training: bool) -> None:
    """Before each pass, the random streams of the layers are reset, so that the masks are the same.

    The forward and backward passes do not change x.
    """
    rng = np.random.default_rng(0)
    model, loss = small_model(block), nn.MeanSquaredError()
    x, t = rng.standard_normal((N, WIDTH)), rng.standard_normal((N, OUT))
    before = model.state_dict()
    x_before = x.copy()
    dy = loss.gradient(model.forward(x, training), t)
    dx = model.backward(dy, need_dx=True)
    assert dx is not None and np.array_equal(x, x_before)
    dx, grads = dx.copy(), {name: g.copy() for name, g in model.grads.items()}

    def value() -> float:
        for name, array in model.buffers.items():
            array[...] = before[name]  # so that the layer draws the same mask again
        return loss(model.forward(x, training), t)

    assert_same_gradient(dx, differences(value, x))
    for name, array in model.params.items():
        assert_same_gradient(grads[name], differences(value, array))


def test_each_training_pass_of_a_dropout_layer_uses_the_next_random_stream() -> None:
    """A layer has a seed, and the number of its next random stream. Layers have different seeds.

    The masks of three passes equal those of `fs.dropout` with the same seeds and stream numbers.
    """
    model = nn.Sequential(nn.Dropout(0.25), nn.Dropout(0.25), rng=0)
    x = np.ones((8, 16), np.float32)
    assert np.array_equal(model.forward(x), x)
    for stream in range(3):
        expected = x
        for layer in "01":
            seed = int(model.buffers[f"{layer}.stream"][0])
            expected = fs.dropout(expected, 0.25, fs.Key(seed, stream))
        assert np.array_equal(model.forward(x, training=True), expected)
        model.predict(x)  # prediction uses no stream
    assert [int(model.buffers[f"{i}.stream"][1]) for i in range(2)] == [3, 3]
    assert model.buffers["0.stream"][0] != model.buffers["1.stream"][0]
    other = nn.Sequential(nn.Dropout(0.25), rng=1)
    assert other.buffers["0.stream"][0] != model.buffers["0.stream"][0]


@pytest.mark.parametrize("how", ["state_dict", "deepcopy", "file"])
def test_training_resumed_from_a_copy_equals_uninterrupted_training(how: str, tmp_path: Path) -> None:
    """The model has dropout and batch norm. It is copied after 10 of 20 steps by `state_dict`, `deepcopy` or a file."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((20, 16, WIDTH)).astype(np.float32), rng.integers(0, OUT, (20, 16))
    loss = nn.SoftmaxNLL()

    def fresh() -> tuple[nn.Sequential, Any]:
        block = nn.Residual(nn.Linear(8, 8), nn.Dropout(0.2), nn.BatchNorm(momentum=None))
        layers = [nn.Linear(WIDTH, 8), nn.BatchNorm(relu=True), nn.Dropout(0.3), block, nn.Linear(8, OUT)]
        model = nn.Sequential(*layers, rng=0)
        return model, fs.AdamW(model.params, lr=0.01)

    def train(model: nn.Sequential, opt: Any, steps: range) -> None:
        for i in steps:
            _, dy = loss.value_and_gradient(model.forward(x[i], training=True), labels[i])
            model.backward(dy)
            opt.step(model.grads)

    uninterrupted, opt = fresh()
    train(uninterrupted, opt, range(20))
    first, first_opt = fresh()
    train(first, first_opt, range(10))
    if how == "deepcopy":
        second = copy.deepcopy(first)
    elif how == "file":
        pytest.importorskip("safetensors")
        zeros, ones = np.zeros(WIDTH), np.ones(WIDTH)
        nn.save(tmp_path / "m", nn.TrainedModel(first, "classification", zeros, ones, classes=[0, 1, 2, 3]))
        second = nn.load(tmp_path / "m").model
    else:
        second = fresh()[0]
        second.arena[:] = 9
        second.load_state_dict(first.state_dict())
    second_opt = fs.AdamW(second.params, lr=0.01)
    second_opt.load_state_dict(first_opt.state_dict())
    train(second, second_opt, range(10, 20))
    expected, found = uninterrupted.state_dict(), second.state_dict()
    assert list(found) == list(expected)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert expected["2.stream"][1] == expected["3.1.stream"][1] == expected["3.2.num_batches"][0] == 20


def test_vanilla_dropout_layer_multiplies_by_the_kept_fraction_in_prediction() -> None:
    """In training, the layer only sets elements to 0. The other elements do not change."""
    model = nn.Sequential(nn.Dropout(0.25, mode="vanilla"), rng=0)
    x = np.ones((50, 50), np.float32)
    assert (model.predict(x) == 0.75).all()
    assert set(model.forward(x, training=True).ravel().tolist()) == {0.0, 1.0}


def test_predict_samples_returns_mean_and_variance_over_masks() -> None:
    """The model is one linear layer after dropout, so the mean and the variance have formulas."""
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(WIDTH, 1), dtype=np.float64, rng=0)
    x = np.random.default_rng(0).standard_normal((10, WIDTH))
    found = model.predict_samples(x, 4000, key=7)
    variance = ((x * model.params["1.weight"][:, 0]) ** 2).sum(axis=1)  # the formula's factor p / (1 - p) is 1
    np.testing.assert_allclose(found.mean, model.predict(x), atol=5 * np.sqrt(variance.max() / 4000))
    np.testing.assert_allclose(found.variance[:, 0], variance, rtol=0.15)
    assert found.draws == 4000


@pytest.mark.parametrize("block", ["after a tanh", "with batch norm", "in a residual"])
def test_masks_of_predict_samples_depend_only_on_the_key_and_the_row_number(block: str) -> None:
    """A row has the same masks if later rows are removed. Equal rows at different places have different masks.

    `predict_samples` does not change the state of the model.
    """
    model = small_model(block)
    x = np.random.default_rng(0).standard_normal((1500, WIDTH))
    before, plain = model.state_dict(), model.predict(x)
    whole = model.predict_samples(x, 5, key=3)
    again = model.predict_samples(x[:1100], 5, fs.Key(3))
    np.testing.assert_allclose(again.mean, whole.mean[:1100], rtol=1e-12)
    assert not np.allclose(model.predict_samples(x, 5, key=4).mean, whole.mean)
    assert (whole.variance > 0).any(axis=1).mean() > 0.8  # with five equal masks, the variance would be 0
    twice = np.concatenate([x[:500]] * 3)
    rows = model.predict_samples(twice, 5, key=3).mean
    assert not np.allclose(rows[:500], rows[500:1000])  # the same input under other masks
    after = model.state_dict()
    assert np.array_equal(model.predict(x), plain)  # sampling changes no state of the model
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_dropout_layers_of_one_model_have_independent_masks() -> None:
    """Each of two layers keeps half of the elements, so both together keep a quarter."""
    two = [nn.Dropout(0.5), nn.Dropout(0.5)]
    in_a_block = nn.Residual(nn.Dropout(0.5), nn.Dropout(0.5), nn.BatchNorm(100, eps=0, affine=False))
    for layers, rest in ((two, 0), ([in_a_block], 1)):  # `rest` is the output for an element that is not kept
        model = nn.Sequential(*layers, dtype=np.float64, rng=0)
        kept = model.predict_samples(np.ones((100, 100)), 1, transform=lambda y, r=rest: np.sign(y - r)).mean.mean()
        assert 0.23 < kept < 0.27


def test_predict_samples_draws_one_mask_for_an_input_that_needs_several_passes() -> None:
    """The model processes the 2,500 rows in several passes. The mask equals that of one call of `fs.dropout`."""
    x = np.random.default_rng(0).standard_normal((2500, 3))
    found = nn.Sequential(nn.Dropout(0.3), dtype=np.float64, rng=0).predict_samples(x, 1, fs.Key(5)).mean
    assert np.array_equal(found, fs.dropout(x, 0.3, fs.Key(5).fold(0).fold(0)))  # the key of draw 0 in layer 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: nn.Dropout(1.5), ValueError, r"Dropout: p must be from 0 to 1; got 1\.5"),
        (lambda m: nn.Dropout("a"), TypeError, "Dropout: p must be a number"),
        (
            lambda m: nn.Dropout(0.5, "other"),
            ValueError,
            'Dropout: mode must be "inverted" or "vanilla"; got \'other\'',
        ),
        (
            lambda m: m.predict_samples(np.ones((3, 7)), 5),
            ValueError,
            r"predict_samples: x must be numbers of shape \(n, 5\)",
        ),
        (lambda m: m.predict_samples(np.ones((3, 5)), 0), ValueError, "predict_samples: k must be at least 1; got 0"),
        (lambda m: m.predict_samples(np.ones((3, 5)), 2.5), TypeError, "predict_samples: k must be a whole number"),
        (lambda m: m.predict_samples(np.ones((3, 5)), 2, "a"), TypeError, "predict_samples: key must be a whole"),
        (
            lambda m: nn.Sequential(nn.Linear(5, 2)).predict_samples(np.ones((3, 5)), 2),
            ValueError,
            "needs a model with a Dropout layer; got Sequential",
        ),
    ],
)
def test_dropout_layer_and_predict_samples_refuse_wrong_arguments(
    call: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(small_model("first"))


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("module", ["dropout", "batch_norm", "residual"])
def test_docstring_examples_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"fusedstep.nn.{module}"))
    assert result.attempted > 0 and result.failed == 0
