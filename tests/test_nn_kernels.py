"""The kernels of ReLU and of the softmax loss give the same bits as NumPy references, and accurate results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fusedstep import _core, nn
from fusedstep.ops import _philox_reference
from support.bits import Array, assert_same_bits, every_dtype, values
from support.fences import guarded, untouched_around
from support.machines import machines

WIDTHS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 64, 65)


def relu(x: Array, bias: Array | None) -> Array:
    shifted = x if bias is None else x + bias
    return np.where(shifted < 0, shifted.dtype.type(0), shifted)


def exponential(x: Array) -> Array:
    """Return exp(x) for x <= 0, computed with the power series of the kernels."""
    double = x.dtype == np.float64
    t, terms, lowest = x.dtype.type, 14 if double else 8, -746 if double else -104
    high, low = ("0x1.62e42fefa38p-1", "0x1.ef35793c7673p-45") if double else ("0x1.63p-1", "-0x1.bd0106p-13")
    x = np.where(x < lowest, t(lowest), x)
    k = np.rint(x * t(1.44269504088896340736))
    r = (x - k * t(float.fromhex(high))) - k * t(float.fromhex(low))
    series = np.ones_like(x)
    for i in range(terms, 1, -1):
        series = t(1) + series * r * t(1.0 / i)
    series = t(1) + r * series
    half = np.rint(k * t(0.5))
    return np.ldexp(np.ldexp(series, half.astype(np.int64)), (k - half).astype(np.int64))


def total(p: Array) -> Array:
    """Return the sum of each row, added in the order of the kernels.

    A row of n >= 32 elements first gives 16 sums, each of every 16th element. To these, the last n % 16 elements are
    added. Shorter rows are added from the first to the last element.
    """
    n = p.shape[1]
    whole = n // 16 * 16 if n >= 32 else 0
    lanes, total = np.zeros((len(p), 16)), np.zeros(len(p))
    for j in range(0, whole, 16):
        lanes = lanes + p[:, j : j + 16].astype(np.float64)
    for part in [*lanes.T, *p[:, whole:].T.astype(np.float64)]:
        total = total + part
    return total


def softmax_loss(z: Array, labels: Array) -> tuple[Array, Array]:
    t, (n, _) = z.dtype.type, z.shape
    p, rows = z - z.max(axis=1, keepdims=True), np.arange(n)
    chosen = p[rows, labels].astype(np.float64)
    p = exponential(p)
    sums = total(p)
    losses = (-_philox_reference.logarithm(1 / sums) - chosen).astype(z.dtype)
    p = p * (1 / (sums * n)).astype(z.dtype)[:, None]
    p[rows, labels] -= t(1 / n)
    return losses, p


@every_dtype
@pytest.mark.parametrize("width", WIDTHS)
def test_relu_kernels_have_the_bits_of_the_numpy_reference(dtype: Any, width: int) -> None:
    """The forward kernel works in place, with and without a bias. The backward kernel writes dx to a separate array.

    Neither kernel writes outside its output array.
    """
    x, bias = values(5 * width, dtype).reshape(5, width), np.linspace(-1, 1, width).astype(dtype)
    dy = np.arange(1, 5 * width + 1, dtype=dtype).reshape(5, width)
    for machine in machines((1,)):
        for start in (0, 1):
            for b in (None, bias):
                flat, memory = guarded(x.size, dtype, start)
                y = flat.reshape(x.shape)
                y[...] = x
                _core.relu(y, b, y)  # in place
                assert_same_bits(y, relu(x, b), machine)
                assert untouched_around(flat, memory), machine
            flat, memory = guarded(x.size, dtype, start)
            dx = flat.reshape(x.shape)
            _core.relu_backward(dy, y, dx)
            assert_same_bits(dx, np.where(y <= 0, dtype.type(0), dy), machine)
            assert untouched_around(flat, memory), machine


@every_dtype
@pytest.mark.parametrize("shape", [*((3, k) for k in WIDTHS), (64, 10), (500, 10), (2, 1024), (2, 2051)])
def test_softmax_kernel_has_the_bits_of_the_numpy_reference(dtype: Any, shape: tuple[int, int]) -> None:
    """The kernel writes the loss of each row, and the gradient of the mean loss."""
    rng = np.random.default_rng(1)
    z = (rng.standard_normal(shape) * rng.choice([1e-3, 1, 30, 300], shape)).astype(dtype)
    labels = rng.integers(0, shape[1], shape[0])
    losses, gradient = softmax_loss(z, labels)
    for machine in machines((1,)):
        for start in (0, 1):
            (each, around_each), (g, around_g) = guarded(shape[0], dtype, start), guarded(z.size, dtype, start)
            assert _core.softmax_loss(z, labels, each, g.reshape(shape)) == -1  # no label is wrong
            assert_same_bits(each, losses, machine)
            assert_same_bits(g.reshape(shape), gradient, machine)
            assert untouched_around(each, around_each) and untouched_around(g, around_g), machine


@every_dtype
def test_error_of_the_exponential_is_below_two_ulps_down_to_denormals(dtype: Any) -> None:
    """The function `exponential`, which has the bits of the kernel, is compared with `np.exp` in long double.

    The results for -inf, -1e30 and 0 are 0, 0 and 1.
    """
    lowest = -745.2 if dtype is np.float64 else -104.0
    x = -np.linspace(0, -lowest, 200_001).astype(dtype)
    exact = np.exp(x.astype(np.longdouble))
    assert float(np.max(np.abs(exponential(x) - exact) / np.spacing(exact.astype(dtype)))) < 2
    assert exponential(np.array([-np.inf, -1e30, 0], dtype)).tolist() == [0, 0, 1]


@every_dtype
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_or_inf_in_a_softmax_row_gives_nan_only_in_this_row(dtype: Any, bad: float) -> None:
    """If a logit is -inf and its class is not the label, its gradient is 0 and all losses and gradients are finite."""
    z, labels = np.zeros((3, 40), dtype), np.array([0, 1, 2])
    z[1, 35] = bad
    losses, gradient = np.empty(3, dtype), np.empty((3, 40), dtype)
    _core.softmax_loss(z, labels, losses, gradient)
    assert np.isnan(losses[1]) and np.isnan(gradient[1]).all()
    assert np.isfinite(losses[[0, 2]]).all() and np.isfinite(gradient[[0, 2]]).all()
    z[1, 35] = -np.inf  # class 35 is not the label of this row
    _core.softmax_loss(z, labels, losses, gradient)
    assert gradient[1, 35] == 0
    assert np.isfinite(losses).all()
    assert np.isfinite(gradient).all()


def test_softmax_kernel_finds_a_wrong_label_before_it_writes() -> None:
    """The kernel returns the index of the row with the wrong label, and does not change the output arrays."""
    for bad in (-1, 4, 2**62, -(2**63)):
        losses, gradient = np.full(3, 7.0), np.full((3, 4), 7.0)
        assert _core.softmax_loss(np.zeros((3, 4)), np.array([0, 3, bad]), losses, gradient) == 2
        assert (losses == 7).all() and (gradient == 7).all()


x, y, read_only = np.ones((3, 4)), np.ones((3, 4)), np.ones((3, 4))
read_only.flags.writeable = False


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: _core.relu([1.0], None, y), "relu: x must be a numpy.ndarray of float32 or float64; got list"),
        (lambda: _core.relu(x[:, ::2], None, y), "relu: x must be C-contiguous"),
        (lambda: _core.relu(x, None, y[:2]), r"relu: out must be like x: float64 \(3, 4\); got float64 \(2, 4\)"),
        (lambda: _core.relu(x, x[0, :3], y), r"relu: bias must be None, or a .* dtype float64 and shape \(4,\); got"),
        (lambda: _core.relu(x, y[0], y), "relu: out must be in memory of its own; got memory shared with bias"),
        (lambda: _core.relu(x, None, read_only), "relu: out must be writeable; got a read-only"),
        (lambda: _core.relu(x[:2], None, x[1:]), "relu: out must be in memory of its own; got memory shared with x"),
        (lambda: _core.relu_backward(x, y, y), "relu_backward: out must be in memory of its own; .* with dy|y"),
        (lambda: _core.relu_backward(x, y.astype(np.float32), x), "relu_backward: y must be like dy"),
        (lambda: _core.softmax_loss(x[0], np.zeros(4, int), x[1], x[2]), r"logits must be of shape \(n, k\)"),
        (lambda: _core.softmax_loss(x, np.zeros(2, int), x[0, :3], y), r"labels must be int64 \(3,\)"),
        (lambda: _core.softmax_loss(x, np.zeros(3, int), y[0, :3], y), "losses must be in memory of its own"),
        (lambda: _core.softmax_loss(x, np.zeros(3, int), None, y), "losses must be an array; got None"),
        (lambda: _core.softmax_loss(x, np.zeros(3, np.int32), np.ones(3), y), "incompatible function arguments"),
    ],
)
def test_kernels_refuse_wrong_arguments_before_writing(call: Callable[[], object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()
    assert (x == 1).all() and (y == 1).all()


def test_relu_accepts_empty_and_zero_dimensional_arrays() -> None:
    for shape in ((0, 4), (4, 0), (0,)):
        empty = np.empty(shape)
        _core.relu(empty, None, empty)
        _core.relu_backward(empty, empty, empty)
    scalar = np.array(-1.0)
    _core.relu(scalar, None, scalar)
    assert scalar == 0


@every_dtype
def test_relu_that_adds_the_bias_of_linear_gives_the_bits_of_separate_layers(dtype: Any) -> None:
    """In a Sequential, a ReLU after a Linear adds the bias of the Linear.

    Outputs and gradients have the same bits as if each layer is called by itself.
    """
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(9, 17), nn.ReLU(), nn.Linear(17, 5), dtype=dtype, rng=0)
    for p in model.params.values():
        p[...] = rng.standard_normal(p.shape)
    x, dy = rng.standard_normal((7, 9)).astype(dtype), rng.standard_normal((7, 5)).astype(dtype)
    outputs = model.forward(x, training=True).copy()
    model.backward(dy.copy())
    grads = {name: grad.copy() for name, grad in model.grads.items()}
    first, relu, last = model.layers
    assert_same_bits(first.forward(x, True), x @ model.params["0.weight"] + model.params["0.bias"])
    assert_same_bits(last.forward(relu.forward(first.forward(x, True), True), True), outputs)
    between = relu.backward(last.backward(dy, True), True)
    first.backward(between, False)
    for name, grad in model.grads.items():
        assert_same_bits(grad, grads[name])


class Turned(nn.Layer):
    """A layer that returns its input and its gradient in Fortran order."""

    def forward(self, x: Array, training: bool) -> Array:
        return np.asfortranarray(x)

    def backward(self, dy: Array, need_dx: bool) -> Array:
        return np.asfortranarray(dy)


def test_relu_accepts_arrays_that_are_not_c_contiguous() -> None:
    x, dy = np.linspace(-1, 1, 12).reshape(3, 4), np.arange(12.0).reshape(3, 4)
    model = nn.Sequential(Turned(), nn.ReLU(), Turned(), dtype=np.float64)
    assert (model.forward(x, training=True) == np.maximum(x, 0)).all()
    assert (model.backward(dy, need_dx=True) == dy * (x > 0)).all()
