"""Memory, copies and state dicts of a Sequential, wrong arguments that it refuses, and layers that a user wrote."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest

from fusedstep import nn

N, WIDTH, OUT = 6, 5, 4


def small_model(*hidden: type[nn.Layer], dtype: Any = np.float64, rng: int = 3) -> nn.Sequential:
    layers: list[nn.Layer] = []
    for kind in hidden:
        layers += [nn.Linear(WIDTH, WIDTH), kind()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, OUT), dtype=dtype, rng=rng)


def test_parameters_are_views_of_arena_and_gradients_are_views_of_grad_arena() -> None:
    """The arrays `arena` and `grad_arena` are contiguous, and their addresses are multiples of 64 bytes."""
    model = small_model(nn.ReLU, dtype=np.float32)
    for arena, views in ((model.arena, model.params), (model.grad_arena, model.grads)):
        assert arena.flags.c_contiguous and arena.ctypes.data % 64 == 0
        assert list(views) == ["0.weight", "0.bias", "2.weight", "2.bias"]
        arena[:] = np.arange(arena.size)
        assert np.array_equal(np.concatenate([v.ravel() for v in views.values()]), arena)
        assert all(v.flags.c_contiguous and v.flags.writeable and v.dtype == np.float32 for v in views.values())
    assert not np.shares_memory(model.arena, model.grad_arena)


@pytest.mark.thread_unsafe
def test_second_training_step_allocates_less_memory_than_the_output_of_a_hidden_layer() -> None:
    """The second step reuses the arrays of the first step."""
    rng = np.random.default_rng(0)
    model, loss = small_model(nn.ReLU, nn.Tanh, nn.HardTanh, nn.Sigmoid, dtype=np.float32), nn.SoftmaxNLL()
    x, labels = rng.random((4096, WIDTH)).astype(np.float32), rng.integers(0, OUT, 4096)

    def step() -> None:
        _, dy = loss.value_and_gradient(model.forward(x, training=True), labels)
        model.backward(dy)

    step()
    tracemalloc.start()
    step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The output of one hidden layer has 80 KiB. The loss allocates and frees a few numbers per row.
    assert peak < 72 * 1024


def test_layers_reuse_an_output_array_for_equal_batch_sizes_and_keep_at_most_eight_arrays() -> None:
    model = small_model(nn.ReLU)
    big, small = np.ones((N, WIDTH)), np.ones((2, WIDTH))
    first = model.forward(big)
    model.forward(small)
    assert model.forward(big) is first
    for n in range(1, 50):
        model.forward(np.ones((n, WIDTH)))
    assert len(model.layers[0]._y) <= 8  # type: ignore[attr-defined]


def test_predict_accepts_any_number_of_rows_and_returns_a_new_array() -> None:
    """A list of integers is converted to the dtype of the model."""
    model = small_model(nn.Tanh)
    x = np.random.default_rng(0).standard_normal((2500, WIDTH))
    whole = model.predict(x)
    assert whole.shape == (2500, OUT)
    np.testing.assert_allclose(whole[2490:], model.predict(x[2490:]), rtol=1e-12)
    kept = whole.copy()
    model.predict(-x)
    assert np.array_equal(whole, kept)
    assert model.predict(np.empty((0, WIDTH))).shape == (0, OUT)
    assert model.predict([[1, 2, 3, 4, 5]]).dtype == np.float64


def test_backward_is_refused_without_a_forward_pass_and_after_predict() -> None:
    model = small_model()
    with pytest.raises(RuntimeError, match="must be called after a forward pass"):
        model.backward(np.zeros((N, OUT)))
    model.forward(np.ones((N, WIDTH)))
    model.predict(np.ones((N, WIDTH)))
    with pytest.raises(RuntimeError, match="must be called after a forward pass"):
        model.backward(np.zeros((N, OUT)))


def test_backward_returns_the_input_gradient_only_if_asked() -> None:
    model = small_model(nn.ReLU)
    model.forward(np.ones((N, WIDTH)))
    assert model.backward(np.ones((N, OUT))) is None
    dx = model.backward(np.ones((N, OUT)), need_dx=True)
    assert dx is not None and dx.shape == (N, WIDTH)


def test_forward_of_a_strided_input_agrees_with_predict_of_its_contiguous_copy() -> None:
    model = small_model(nn.ReLU)
    x = np.random.default_rng(0).standard_normal((WIDTH, 2 * N)).T[::2]
    assert not x.flags.c_contiguous and not x.flags.f_contiguous
    np.testing.assert_allclose(model.forward(x), model.predict(x.copy()), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m: m.forward(np.ones((3, 7))),
            ValueError,
            r"forward: x must be float64 of shape \(n, 5\); got float64 \(3, 7\)",
        ),
        (lambda m: m.forward(np.ones((3, 5), np.float32)), ValueError, r"x must be float64 .* got float32 \(3, 5\)"),
        (lambda m: m.forward(np.ones(5)), ValueError, r"x must be float64 of shape \(n, 5\); got float64 \(5,\)"),
        (lambda m: m.forward([[1.0] * 5]), ValueError, r"x must be .*; got list"),
        (lambda m: m.forward(np.ma.ones((3, 5))), ValueError, r"x must be .*; got MaskedArray of float64 \(3, 5\)"),
        (
            lambda m: m.predict(np.ones((3, 7))),
            ValueError,
            r"predict: x must be numbers of shape \(n, 5\); got float64 \(3, 7\)",
        ),
        (
            lambda m: m.backward(np.ones((3, 4))),
            ValueError,
            r"backward: dy must be float64 of shape \(6, 4\); got float64 \(3, 4\)",
        ),
        (lambda m: m.backward(np.ones((6, 4), "f")), ValueError, r"dy must be float64 of shape \(6, 4\); got float32"),
        (lambda m: m.load_state_dict({}), ValueError, r"missing \['0.bias', '0.weight'.*unknown \[\]"),
        (lambda m: nn.Sequential(), ValueError, r"layers must hold at least one layer; got none"),
        (lambda m: nn.Sequential(np.tanh), TypeError, r"layers\[0\] must be a Layer; got <ufunc 'tanh'>"),
        (
            lambda m: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(5, 2)),
            ValueError,
            r"layers\[2\] must take 4 features; got Linear\(in_features=5",
        ),
        (
            lambda m: nn.Sequential(*[nn.ReLU()] * 2),
            ValueError,
            r"layers\[1\] must not be the same object as layers\[0\]",
        ),
        (lambda m: nn.Sequential(m.layers[0]), ValueError, r"layers\[0\] must not belong to another model; got"),
        (
            lambda m: nn.Sequential(nn.ReLU(), dtype=np.float16),
            ValueError,
            r"dtype must be float32 or float64; got float16",
        ),
        (lambda m: nn.Linear(0, 3), ValueError, r"Linear: in_features must be an integer >= 1; got 0"),
        (lambda m: nn.Linear(3, 2.5), ValueError, r"Linear: out_features must be an integer >= 1; got 2\.5"),
        (lambda m: nn.MulticlassHinge(0), ValueError, r"MulticlassHinge: margin must be a finite number > 0; got 0"),
        (
            lambda m: nn.softmax(np.ones(3)),
            ValueError,
            r"softmax: logits must be numbers of shape \(n, k\), k >= 1; got float64 \(3,\)",
        ),
        (lambda m: nn.softmax(np.ones((2, 0))), ValueError, r"of shape \(n, k\), k >= 1; got float64 \(2, 0\)"),
        (lambda m: nn.softmax([["a"]]), ValueError, r"softmax: logits must be numbers of .*; got <U1 \(1, 1\)"),
        (lambda m: nn.softmax([[1j]]), ValueError, r"softmax: logits must be numbers of .*; got complex128 \(1, 1\)"),
        (
            lambda m: nn.softmax(np.ma.masked_less([[1.0, 2.0]], 2)),
            ValueError,
            r"softmax: logits must be numbers of .*; got MaskedArray of float64 \(1, 2\)",
        ),
    ],
)
def test_models_layers_and_softmax_refuse_wrong_arguments(call: Any, error: type[Exception], message: str) -> None:
    model = small_model(nn.ReLU)
    model.forward(np.ones((N, WIDTH)))
    with pytest.raises(error, match=message):
        call(model)


@pytest.mark.parametrize("renew", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_change_of_a_copied_model_does_not_change_the_original(renew: Any) -> None:
    model = small_model(nn.Tanh)
    x = np.random.default_rng(0).standard_normal((N, WIDTH))
    expected = model.predict(x)
    twin = renew(model)
    assert np.array_equal(twin.predict(x), expected)
    twin.arena[:] = 0
    assert not twin.predict(x).any() and np.array_equal(model.predict(x), expected)


def test_state_dict_is_a_copy_and_load_state_dict_with_a_wrong_shape_changes_nothing() -> None:
    model = small_model(nn.ReLU)
    state = model.state_dict()
    model.arena[:] = 7
    assert not (state["0.weight"] == 7).any()
    bad = {**state, "2.bias": np.zeros(3)}
    with pytest.raises(ValueError, match=r'state\["2.bias"\] must be float64 of shape \(4,\); got float64 \(3,\)'):
        model.load_state_dict(bad)
    assert (model.arena == 7).all()
    model.load_state_dict(state)
    assert all(np.array_equal(state[name], array) for name, array in model.params.items())


def test_load_state_dict_accepts_the_arrays_of_the_model_under_exchanged_names() -> None:
    """The weights of two layers are exchanged, and one is transposed. No array is overwritten before it is read."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), rng=0)
    before = model.state_dict()
    own = {**model.params}
    model.load_state_dict(own | {"0.weight": own["1.weight"], "1.weight": own["0.weight"].T})
    assert np.array_equal(own["0.weight"], before["1.weight"])
    assert np.array_equal(own["1.weight"], before["0.weight"].T)


class Scale(nn.Layer):
    """A layer with a trained parameter `gain`, and a saved number `seen` that counts the rows of training passes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def config(self) -> dict[str, Any]:
        return {"width": self.width}

    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"gain": (self.width,)}

    def buffer_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"seen": (1,)}

    def initialize(self, rng: np.random.Generator) -> None:
        self.params["gain"][...] = 1

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        self._x = x
        self.buffers["seen"][...] += training * len(x)
        return x * self.params["gain"]

    def backward(self, dy: np.ndarray, need_dx: bool) -> np.ndarray:
        np.sum(dy * self._x, axis=0, out=self.grads["gain"])
        return np.asarray(dy * self.params["gain"])


def test_buffers_of_a_layer_that_a_user_wrote_are_saved_and_its_parameters_get_gradients() -> None:
    """`Scale` has a parameter `gain`, and a buffer `seen` that counts the rows of training passes."""
    model = nn.Sequential(nn.Linear(3, 4), Scale(4), nn.ReLU(), dtype=np.float64, rng=0)
    assert list(model.params) == ["0.weight", "0.bias", "1.gain"]
    assert list(model.buffers) == ["1.seen"]
    model.forward(np.ones((5, 3)), training=True)
    model.forward(np.ones((5, 3)))
    assert model.state_dict()["1.seen"] == 5
    assert copy.deepcopy(model).buffers["1.seen"] == 5
    model.backward(np.ones((5, 4)))
    assert model.grads["1.gain"].any()


class Unfinished(nn.Layer):
    """A layer without the methods `config`, `forward` and `backward`."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features


def test_missing_method_of_a_layer_is_named_in_the_error() -> None:
    model = nn.Sequential(Unfinished(2))
    with pytest.raises(NotImplementedError, match=r"Unfinished must define forward\(self, x, training\)"):
        model.predict(np.ones((3, 2)))
    with pytest.raises(NotImplementedError, match=r"Unfinished must define backward\(self, dy, need_dx\)"):
        model.layers[0].backward(np.ones((3, 2)), True)
    with pytest.raises(TypeError, match=r"Unfinished.config must return all arguments of Unfinished; got \{\}"):
        model.astype(np.float64)
