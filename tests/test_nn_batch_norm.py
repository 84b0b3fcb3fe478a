"""Batch normalisation layers and residual blocks in a network."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import nn
from support.slopes import assert_same_gradient, differences

N, WIDTH, OUT = 7, 5, 4


def linear() -> nn.Linear:
    return nn.Linear(WIDTH, WIDTH, bias=False)


BLOCKS: dict[str, Callable[[], list[nn.Layer]]] = {
    "first": lambda: [nn.BatchNorm(WIDTH)],
    "plain": lambda: [linear(), nn.BatchNorm(affine=False)],
    "relu": lambda: [linear(), nn.BatchNorm(relu=True)],
    "before an activation in place": lambda: [linear(), nn.BatchNorm(), nn.Tanh()],
    "after an activation": lambda: [linear(), nn.Tanh(), nn.BatchNorm(), nn.Sigmoid()],
    "two in sequence": lambda: [linear(), nn.BatchNorm(), nn.BatchNorm(relu=True)],
    "residual": lambda: [linear(), nn.Residual(linear(), nn.BatchNorm()), nn.Tanh()],
    "residual with relu": lambda: [linear(), nn.Tanh(), nn.Residual(linear(), nn.BatchNorm(relu=True)), nn.Tanh()],
    "residual with only batch norm": lambda: [nn.Residual(nn.BatchNorm(WIDTH)), nn.Residual(nn.BatchNorm(relu=True))],
    "residual in a residual": lambda: [
        nn.Residual(nn.Residual(linear(), nn.BatchNorm(relu=True)), nn.Tanh(), linear(), nn.BatchNorm(relu=True))
    ],
}


def small_model(block: str, last: bool = True, dtype: Any = np.float64) -> nn.Sequential:
    """Return a network with random parameters. If `last` is True, a linear layer follows the block."""
    model = nn.Sequential(*BLOCKS[block](), *([nn.Linear(WIDTH, OUT)] * last), dtype=dtype, rng=3)
    rng = np.random.default_rng(9)
    for name, array in {**model.params, **model.buffers}.items():
        if "gamma" in name or "var" in name:
            array[...] = rng.uniform(0.5, 2, array.shape)
        elif "beta" in name or "mean" in name:
            array[...] = rng.standard_normal(array.shape)
    return model


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("block", BLOCKS)
def test_gradients_of_every_parameter_and_of_the_input_agree_with_finite_differences(
    block: str, last: bool, training: bool
) -> None:
    """The running statistics are reset before each pass, because a pass in training changes them.

    Without `need_dx`, `backward` returns None, and the gradients of the parameters are the same.
    """
    rng = np.random.default_rng(0)
    model, loss = small_model(block, last), nn.MeanSquaredError()
    x, t = rng.standard_normal((N, WIDTH)), rng.standard_normal((N, OUT if last else WIDTH))
    statistics = {name: array.copy() for name, array in model.buffers.items()}
    dy = loss.gradient(model.forward(x, training), t)
    x_before, dy_before = x.copy(), dy.copy()
    dx = model.backward(dy, need_dx=True)
    assert dx is not None
    assert np.array_equal(x, x_before), "backward must not change the input of the model"
    assert np.array_equal(dy, dy_before), "backward must not change its argument"
    dx, grads = dx.copy(), {name: g.copy() for name, g in model.grads.items()}

    def value() -> float:
        for name, array in model.buffers.items():
            array[...] = statistics[name]
        return loss(model.forward(x, training), t)

    assert_same_gradient(dx, differences(value, x))
    for name, array in model.params.items():
        assert_same_gradient(grads[name], differences(value, array))
    value()
    assert model.backward(dy_before) is None
    assert all(np.array_equal(model.grads[name], grads[name]) for name in grads)


def test_running_statistics_change_only_in_training_and_are_used_by_predict() -> None:
    """`predict` also accepts an empty batch and a batch of one row."""
    model = nn.Sequential(nn.BatchNorm(3, momentum=0.5), dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((50, 3)) * [1, 2, 3] + 7
    model.forward(x)
    assert not model.buffers["0.running_mean"].any()
    assert (model.buffers["0.running_var"] == 1).all()
    y = model.forward(x, training=True)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=0), 1, rtol=1e-5)
    mean, var = 0.5 * x.mean(axis=0), 0.5 + 0.5 * x.var(axis=0, ddof=1)
    np.testing.assert_allclose(model.buffers["0.running_mean"], mean)
    np.testing.assert_allclose(model.buffers["0.running_var"], var)
    np.testing.assert_allclose(model.predict(x), (x - mean) / np.sqrt(var + 1e-5))
    assert model.buffers["0.num_batches"].tolist() == [1]
    assert model.predict(x[:0]).shape == (0, 3)
    assert model.predict(x[:1]).shape == (1, 3)


def test_running_mean_is_the_mean_of_all_batches_if_momentum_is_none() -> None:
    """The test also checks that a layer with `affine=False` has no parameters."""
    model = nn.Sequential(nn.BatchNorm(2, momentum=None, affine=False), dtype=np.float64)
    batches = np.random.default_rng(0).standard_normal((4, 10, 2))
    for x in batches:
        model.forward(x, training=True)
    np.testing.assert_allclose(model.buffers["0.running_mean"], batches.mean(axis=(0, 1)))
    assert not model.params
    assert model.buffers["0.num_batches"] == [4]


def test_network_with_batch_norm_and_residual_block_agrees_with_torch(torch: Any) -> None:
    """The loss, the gradients and one running variance are compared after three passes in training."""
    rng = np.random.default_rng(0)
    block = nn.Residual(linear(), nn.BatchNorm(relu=True))
    model, loss = nn.Sequential(linear(), nn.BatchNorm(relu=True), block, rng=0), nn.MeanSquaredError()
    x, t = (rng.standard_normal((N, WIDTH)).astype(np.float32) for _ in range(2))
    w = [torch.tensor(model.params[name].T.copy(), requires_grad=True) for name in ("0.weight", "2.0.weight")]
    norms = [torch.nn.BatchNorm1d(WIDTH) for _ in range(2)]
    for _ in range(3):
        value, dy = loss.value_and_gradient(model.forward(x, training=True), t)
        model.backward(dy)
        h = torch.relu(norms[0](torch.from_numpy(x) @ w[0].T))
        out = torch.relu(norms[1](h @ w[1].T) + h)
        their_loss = torch.nn.functional.mse_loss(out, torch.from_numpy(t))
    their_loss.backward()
    assert value == pytest.approx(their_loss.item(), rel=1e-5)
    pairs = [(w[0].grad.T, "0.weight"), (w[1].grad.T, "2.0.weight"), (norms[0].weight.grad, "1.gamma")]
    pairs += [(norms[1].weight.grad, "2.1.gamma"), (norms[1].bias.grad, "2.1.beta")]
    for tensor, name in pairs:
        np.testing.assert_allclose(model.grads[name], tensor.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.buffers["2.1.running_var"], norms[1].running_var.numpy(), rtol=1e-5)


@pytest.mark.thread_unsafe
def test_second_training_step_with_batch_norm_and_dropout_allocates_less_than_one_layer_output() -> None:
    rng = np.random.default_rng(0)
    block = nn.Residual(linear(), nn.BatchNorm(relu=True), nn.Dropout(0.1), linear(), nn.BatchNorm(relu=True))
    layers = [linear(), nn.BatchNorm(), nn.Tanh(), nn.Dropout(0.2), block, nn.Linear(WIDTH, OUT)]
    model, loss = nn.Sequential(*layers, rng=0), nn.SoftmaxNLL()
    x, labels = rng.random((4096, WIDTH)).astype(np.float32), rng.integers(0, OUT, 4096)

    def step() -> None:
        _, dy = loss.value_and_gradient(model.forward(x, training=True), labels)
        model.backward(dy)

    step()
    tracemalloc.start()
    step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 72 * 1024  # the output of a hidden layer is 80 KiB


def test_saved_model_is_loaded_with_its_residual_blocks_and_running_statistics(tmp_path: Path) -> None:
    """Saving the loaded model again writes the same bytes."""
    pytest.importorskip("safetensors")
    block = nn.Residual(linear(), nn.Dropout(0.1), nn.BatchNorm(relu=True, momentum=None))
    model = nn.Sequential(linear(), nn.BatchNorm(eps=1e-3), nn.Tanh(), block, nn.Linear(WIDTH, 1), rng=0)
    x = np.random.default_rng(0).standard_normal((30, WIDTH)).astype(np.float32)
    for _ in range(5):
        model.forward(x, training=True)
    nn.save(tmp_path / "m", nn.TrainedModel(model, "regression", np.zeros(WIDTH), np.ones(WIDTH)))
    loaded = nn.load(tmp_path / "m")
    assert np.array_equal(loaded.model.predict(x), model.predict(x))
    assert repr(loaded.model) == repr(model)
    nn.save(tmp_path / "again", loaded)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


def test_network_has_the_same_bits_with_other_numbers_of_threads_and_other_instruction_sets() -> None:
    """Output, input gradient and parameter gradients of a residual block with dropout and batch norm are compared."""
    x = np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32)
    threads, isa, results = fs.num_threads(), fs.isa(), []
    try:
        for n, level in ((1, isa), (2, isa), (2, "v2" if isa in ("v3", "v4") else isa)):
            fs.set_num_threads(n)
            fs.set_isa(level)
            model = nn.Sequential(nn.Residual(nn.Dropout(0.2), nn.BatchNorm(64, relu=True)), rng=0)
            y = model.forward(x, training=True).copy()
            dx = model.backward(x, need_dx=True)
            assert dx is not None
            results.append((y.tobytes(), dx.tobytes(), model.grad_arena.tobytes()))
    finally:
        fs.set_num_threads(threads)
        fs.set_isa(isa)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.BatchNorm(0), ValueError, "BatchNorm: num_features must be an integer >= 1; got 0"),
        (lambda: nn.BatchNorm(momentum=2), ValueError, "BatchNorm: momentum must be from 0 to 1; got 2"),
        (lambda: nn.BatchNorm(eps=-1), ValueError, "BatchNorm: eps must be at least 0; got -1"),
        (lambda: nn.BatchNorm(relu="yes"), TypeError, "BatchNorm: relu must be True or False; got 'yes'"),
        (
            lambda: nn.Sequential(nn.BatchNorm()),
            ValueError,
            "BatchNorm: num_features must be given if no earlier layer",
        ),
        (
            lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(5)),
            ValueError,
            r"layers\[1\] must take 4 features; got BatchNorm\(num_features=5",
        ),
        (
            lambda: nn.Sequential(linear(), nn.BatchNorm()).forward(np.ones((1, 5), np.float32), training=True),
            ValueError,
            "x must be an array with more than one value per channel if training is True",
        ),
        (lambda: nn.Residual(), ValueError, "Residual: layers must hold at least one layer; got none"),
        (lambda: nn.Residual(linear()), TypeError, r"the last layer, layers\[0\], must be a BatchNorm; got Linear"),
        (
            lambda: nn.Sequential(nn.Residual(nn.Linear(3, 4), nn.BatchNorm())),
            ValueError,
            "Residual: the output of layers must have as many features as their input, 3; got 4",
        ),
        (
            lambda: nn.Sequential(linear(), nn.Residual(nn.Linear(3, 5), nn.BatchNorm())),
            ValueError,
            r"Residual: layers\[0\] must take 5 features; got Linear\(in_features=3",
        ),
    ],
)
def test_batch_norm_layer_refuses_wrong_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
