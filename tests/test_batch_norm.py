"""Batch normalisation: values, gradients, the same bits everywhere, and refusals that write nothing."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import fusedstep as fs
import numpy as np
import pytest
from fusedstep.ops import _batch_norm_reference as reference
from oracle import DTYPES, Array, Fenced, running, same_bits
from oracle import MACHINES as machines

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-13}
# (shape, axis): around every vector width, group of 32, block of 1,024, period of coefficients and slice.
SHAPES = [
    *[((2, c), 1) for c in (1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 130)],
    *[((n, 5), 1) for n in (3, 31, 32, 33, 127, 128, 129, 1023, 1024, 1025)],
    *[((3, 2, s), 1) for s in (2, 3, 15, 16, 17, 31, 32, 33, 49, 63, 64, 65, 196, 341, 1023, 1024, 1025)],
    ((70, 9, 7, 7), 1),
    ((40, 3, 2), 1),
    ((5, 4, 3, 19), -1),
    ((4, 5, 6), 0),
    ((1, 2, 3000), 1),
    ((1, 1, 40_000), 1),
    ((30, 2100), 1),
    ((2100, 70), 1),
]
every_shape = pytest.mark.parametrize(("shape", "axis"), SHAPES, ids=str)


def parameters(rng: np.random.Generator, channels: int, dtype: Any) -> list[Array]:
    """Return gamma, beta, running mean, running variance."""
    return [
        rng.normal(size=channels).astype(dtype),
        rng.normal(size=channels).astype(dtype),
        rng.normal(size=channels).astype(dtype),
        rng.uniform(0.5, 2, channels).astype(dtype),
    ]


def close(got: Array, want: Array, tolerance: float, what: Any = "") -> None:
    """Assert that the largest error is small against the largest value."""
    error = np.abs(got.astype(np.float64) - want).max() / max(np.abs(want).max(), 1e-300)
    assert error <= tolerance, (what, error)


class Case:
    """Arguments of a call, and what the reference makes of them."""

    def __init__(
        self, rng: np.random.Generator, shape: Any, axis: int, dtype: Any, training: bool = True, relu: bool = False,
        residual: bool = False,
    ) -> None:  # fmt: skip
        self.axis, self.training, self.relu = axis, training, relu
        self.x = rng.normal(3, 2, shape).astype(dtype)
        self.gamma, self.beta, self.mean, self.var = parameters(rng, shape[axis], dtype)
        self.residual = rng.normal(size=shape).astype(dtype) if residual else None
        self.dy = rng.normal(size=shape).astype(dtype)

    def run(self, x: Array, out: Array | None, dy: Array, dx: Array | None) -> tuple[Array, ...]:
        """Forward and backward."""
        running_mean, running_var = self.mean.copy(), self.var.copy()
        y, saved = fs.batch_norm(
            x, self.gamma, self.beta, running_mean, running_var, self.training, axis=self.axis, relu=self.relu,
            residual=self.residual, out=out,
        )  # fmt: skip
        grads = fs.batch_norm_backward(dy, saved, out=dx)
        found = (y, running_mean, running_var, grads.dx, grads.dgamma, grads.dbeta, grads.dresidual)
        return tuple(a for a in found if a is not None)

    def bits(self) -> tuple[Array, ...]:
        """Return the same from the transcription."""
        v, dy = (reference.channels_first(a, self.axis) for a in (self.x, self.dy))
        n, dtype, mean, var = v.shape[1], v.dtype, self.mean, self.var
        if self.training:
            batch_mean, m2 = reference.moments(v)
            invstd = 1 / np.sqrt(m2 / n + 1e-5)
            mean = ((1 - 0.1) * mean.astype(np.float64) + 0.1 * batch_mean).astype(dtype)
            var = ((1 - 0.1) * var.astype(np.float64) + 0.1 * (m2 / (n - 1))).astype(dtype)
        else:
            batch_mean, invstd = mean.astype(np.float64), 1 / np.sqrt(var.astype(np.float64) + 1e-5)
        gamma, beta = self.gamma.astype(np.float64), self.beta.astype(np.float64)
        y = reference.forward_bits(v, gamma, beta, batch_mean, invstd)
        if self.residual is not None:
            y = y + reference.channels_first(self.residual, self.axis)
        if self.relu:
            y, dy = np.where(y <= 0, dtype.type(0), y), np.where(y <= 0, dtype.type(0), dy)
        dx, dgamma, dbeta = reference.backward_bits(v, dy, gamma, batch_mean, invstd, not self.training)
        found = [reference.like(y, self.x, self.axis), mean, var, reference.like(dx, self.x, self.axis), dgamma, dbeta]
        if self.residual is not None:
            found.append(reference.like(dy, self.x, self.axis))
        return tuple(found)


@every_dtype
@every_shape
def test_bits(rng: np.random.Generator, shape: Any, axis: int, dtype: Any) -> None:
    """The transcription's bits, at misaligned places, nothing written beside."""
    case = Case(rng, shape, axis, dtype)
    fenced = Fenced([a.ravel() for a in (case.x, case.x, case.dy, case.dy)])
    x, y, dy, dx = (a.reshape(shape) for a in fenced.arrays)
    for got, want in zip(case.run(x, y, dy, dx), case.bits(), strict=True):
        same_bits(got, want)
    fenced.check((shape, axis))
    same_bits(x, case.x)


VARIANTS = list(itertools.product((True, False), repeat=3))


@pytest.mark.parametrize("machine", machines, ids=str)
@every_dtype
@pytest.mark.parametrize(("shape", "axis"), [((9, 5, 21, 19), 1), ((9, 21, 19, 5), -1), ((700, 70), 1)], ids=str)
def test_bits_of_variants_on_machines(
    rng: np.random.Generator, shape: Any, axis: int, dtype: Any, machine: Any
) -> None:
    for training, relu, residual in VARIANTS:
        case = Case(rng, shape, axis, dtype, training, relu, residual)
        with running(machine):
            found = case.run(case.x, None, case.dy, None)
        for got, want in zip(found, case.bits(), strict=True):
            same_bits(got, want, (training, relu, residual))


@pytest.mark.parametrize("machine", machines, ids=str)
def test_streamed_bits(rng: np.random.Generator, machine: Any) -> None:
    """Arrays so large that results go past the caches, in every phase to a line of memory."""
    for shape, axis, at in (((51, 66, 31, 31), 1, 1), ((1000, 3300), 1, 3), ((47, 31, 33, 67), -1, 2)):
        x, dy = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
        room = np.full((2, x.size + 40), 7, np.float32)
        y, dx = (r[at : at + x.size].reshape(shape) for r in room)
        with running(machine):
            _, saved = fs.batch_norm(x, axis=axis, relu=True, residual=dy, out=y)
            dresidual = fs.batch_norm_backward(dy, saved, out=dx).dresidual
        ones, zeros = np.ones(shape[axis]), np.zeros(shape[axis])
        v = reference.channels_first(x, axis)
        z = reference.like(reference.forward_bits(v, ones, zeros, saved.mean, saved.invstd), x, axis) + dy
        same_bits(y, np.where(z <= 0, np.float32(0), z))
        same_bits(dresidual, np.where(z <= 0, np.float32(0), dy))
        assert np.isfinite(dx).all()
        assert (room[:, :at] == 7).all() and (room[:, at + x.size :] == 7).all()


@every_dtype
def test_same_bits_in_every_layout(rng: np.random.Generator, dtype: Any) -> None:
    case = Case(rng, (7, 37, 9, 23), 1, dtype, relu=True)
    first = case.run(case.x, None, case.dy, None)
    for layout in ("NHWC", "NC"):
        x, dy = (np.ascontiguousarray(np.moveaxis(a, 1, -1)) for a in (case.x, case.dy))
        if layout == "NC":
            x, dy = x.reshape(-1, 37), dy.reshape(-1, 37)
        case.axis = -1
        for want, got in zip(first, case.run(x, None, dy, None), strict=True):
            if want.ndim == 4:
                got = np.ascontiguousarray(np.moveaxis(got.reshape(7, 9, 23, 37), -1, 1))
            same_bits(got, want, layout)


@pytest.mark.parametrize(("training", "relu", "residual"), VARIANTS)
@pytest.mark.parametrize(("shape", "axis"), [((4, 3, 5), 1), ((2, 3, 2, 4), -1), ((6, 3), 1)], ids=str)
def test_gradients(rng: np.random.Generator, training: bool, relu: bool, residual: bool, shape: Any, axis: int) -> None:
    """Central differences in float64."""
    case = Case(rng, shape, axis, np.float64, training, relu, residual)

    def loss() -> float:
        y, _ = fs.batch_norm(
            case.x, case.gamma, case.beta, case.mean.copy(), case.var.copy(), training, axis=axis, relu=relu,
            residual=case.residual,
        )  # fmt: skip
        return float((y * case.dy).sum())

    _, saved = fs.batch_norm(
        case.x, case.gamma, case.beta, case.mean.copy(), case.var.copy(), training, axis=axis, relu=relu,
        residual=case.residual,
    )  # fmt: skip
    grads = fs.batch_norm_backward(case.dy, saved)
    h = 1e-5
    for wanted, of in zip(grads, (case.x, case.gamma, case.beta, case.residual), strict=True):
        if of is None:
            assert wanted is None
            continue
        assert wanted is not None
        numeric = np.empty_like(of)
        for i in np.ndindex(of.shape):
            keep = of[i]
            of[i] = keep + h
            above = loss()
            of[i] = keep - h
            numeric[i] = (above - loss()) / (2 * h)
            of[i] = keep
        close(wanted, numeric, 1e-7)


@every_dtype
@pytest.mark.parametrize(("training", "relu", "residual"), VARIANTS)
@pytest.mark.parametrize("given", [(1, 1), (1, 0), (0, 1), (0, 0)], ids=str)
def test_like_torch(
    rng: np.random.Generator, torch: ModuleType, dtype: Any, training: bool, relu: bool, residual: bool, given: Any
) -> None:
    shape = (6, 5, 13, 9)
    case = Case(rng, shape, 1, dtype, training, relu, residual)
    gamma, beta = (a if there else None for a, there in zip((case.gamma, case.beta), given, strict=True))
    mean, var = case.mean.copy(), case.var.copy()
    y, saved = fs.batch_norm(case.x, gamma, beta, mean, var, training, 0.3, 1e-3, relu=relu, residual=case.residual)
    grads = fs.batch_norm_backward(case.dy, saved)

    def tensor(a: Array | None) -> Any:
        return None if a is None else torch.from_numpy(a.astype(np.float64)).requires_grad_()

    inputs = [tensor(a) for a in (case.x, gamma, beta, case.residual)]
    torch_mean, torch_var = (torch.from_numpy(a.astype(np.float64)) for a in (case.mean, case.var))
    z = torch.nn.functional.batch_norm(inputs[0], torch_mean, torch_var, *inputs[1:3], training, 0.3, 1e-3)
    z = z if case.residual is None else z + inputs[3]
    z = torch.relu(z) if relu else z
    z.backward(torch.from_numpy(case.dy.astype(np.float64)))
    for got, want in zip((y, mean, var), (z.detach(), torch_mean, torch_var), strict=True):
        close(got, want.numpy(), TOLERANCE[dtype])
    for got, leaf in zip(grads, inputs, strict=True):
        assert (got is None) == (leaf is None)
        if got is not None:
            close(got, leaf.grad.numpy(), 4 * TOLERANCE[dtype])


def test_against_the_formula(rng: np.random.Generator) -> None:
    case = Case(rng, (300, 6, 11), 1, np.float64)
    v, dy = (reference.channels_first(a, 1) for a in (case.x, case.dy))
    mean, var = v.mean(1), v.var(1)
    y, _, _, dx, dgamma, dbeta = case.run(case.x, None, case.dy, None)
    close(reference.channels_first(y, 1), reference.forward(v, case.gamma, case.beta, mean, var, 1e-5), 1e-13)
    wanted = reference.backward(v, dy, case.gamma, mean, var, 1e-5, False)
    for got, want in zip((reference.channels_first(dx, 1), dgamma, dbeta), wanted, strict=True):
        close(got, want, 1e-12)


@pytest.mark.parametrize(
    ("dtype", "mean", "std", "tolerance"),
    [(np.float32, 1e4, 1e-2, 2e-6), (np.float32, -3e6, 1.0, 2e-6), (np.float64, 1e8, 1.0, 2e-8), (np.float64, 1e4, 1e-2, 2e-10)],
)  # fmt: skip
@pytest.mark.parametrize("axis", [1, -1])
def test_nothing_cancels(
    rng: np.random.Generator, dtype: Any, mean: float, std: float, tolerance: float, axis: int
) -> None:
    """Large means, also with one value of another size at the start of the channel: right up to the mean's own ulp."""
    shape = (16, 3, 50, 10) if axis == 1 else (16, 50, 10, 3)
    for outlier in (False, True):
        x = rng.normal(mean, std, shape).astype(dtype)
        if outlier:
            x.flat[0] = 0
        y, saved = fs.batch_norm(x, eps=0.0, axis=axis)
        v = reference.channels_first(x, axis).astype(np.longdouble)
        m = v.mean(1)
        var = ((v - m[:, None]) ** 2).mean(1)
        want = (v - m[:, None]) / np.sqrt(var)[:, None]
        close(saved.invstd, (1 / np.sqrt(var)).astype(np.float64), tolerance, outlier)
        close(reference.channels_first(y, axis), want.astype(np.float64), tolerance, outlier)


def test_not_finite() -> None:
    """A channel with inf or nan is nan, as in torch; the others are not touched by it; large values do not overflow."""
    x = np.random.default_rng(1).normal(size=(40, 5, 30)).astype(np.float32)
    x[3, 1, 4], x[3, 2, 4] = np.inf, np.nan
    x[:, 3] *= np.float32(1e30)
    for axis in (1, -1):
        data = x if axis == 1 else np.ascontiguousarray(np.moveaxis(x, 1, -1))
        running_mean, running_var = np.zeros(5, np.float32), np.ones(5, np.float32)
        y, _ = fs.batch_norm(data, running_mean=running_mean, running_var=running_var, axis=axis, relu=True)
        v = reference.channels_first(y, axis)
        assert np.isnan(v[1:3]).all() and np.isfinite(v[[0, 3, 4]]).all()
        assert not np.isfinite(running_mean[1:3]).any() and np.isnan(running_var[1:3]).all()
        assert abs(running_mean[3]) < 1e30 and running_var[3] == np.inf
        close(v[3].astype(np.float64).var(), np.maximum(x[:, 3] / np.float64(1e30), 0).var(), 0.2)


def test_in_place(rng: np.random.Generator) -> None:
    """Forward into x or the residual, backward into dy: the same bits; no gradient where x is gone."""
    for shape, axis in (((5, 3, 70), 1), ((50, 9), 1)):
        case = Case(rng, shape, axis, np.float32, relu=True, residual=True)
        y, _, _, dx, _, _, dresidual = case.run(case.x, None, case.dy, None)
        args = (case.gamma, case.beta)
        assert case.residual is not None
        for target in ("x", "residual"):
            x, residual, dy = case.x.copy(), case.residual.copy(), case.dy.copy()
            out = x if target == "x" else residual
            got, saved = fs.batch_norm(x, *args, relu=True, residual=residual, out=out)
            assert got is out
            same_bits(got, y)
            if target == "x":
                with pytest.raises(ValueError, match="saved must be of a call that left x as it was"):
                    fs.batch_norm_backward(dy, saved)
            else:
                room = np.empty_like(dy)
                grads = fs.batch_norm_backward(dy, saved, out=(dy, room))
                assert grads.dx is dy and grads.dresidual is room
                same_bits(grads.dx, dx)
                same_bits(grads.dresidual, dresidual)


def test_dresidual_without_relu_is_dy(rng: np.random.Generator) -> None:
    case = Case(rng, (5, 3), 1, np.float32, residual=True)
    _, saved = fs.batch_norm(case.x, residual=case.residual)
    assert fs.batch_norm_backward(case.dy, saved).dresidual is case.dy
    with pytest.raises(ValueError, match="out must be in memory of its own; got memory shared with dy"):
        fs.batch_norm_backward(case.dy, saved, out=case.dy)


def test_saved_keeps_its_numbers(rng: np.random.Generator) -> None:
    """Parameters and running statistics may change between forward and backward."""
    for training in (True, False):
        case = Case(rng, (20, 3, 4), 1, np.float64, training, relu=True)
        args = [a.copy() for a in (case.gamma, case.beta, case.mean, case.var)]
        _, saved = fs.batch_norm(case.x, *args, training, relu=True)
        want = fs.batch_norm_backward(case.dy, saved)
        for a in args:
            a[:] = 77
        for got, before in zip(fs.batch_norm_backward(case.dy, saved), want, strict=True):
            if before is not None:
                same_bits(got, before)


def test_cumulative_average(rng: np.random.Generator, torch: ModuleType) -> None:
    layer = torch.nn.BatchNorm1d(4, momentum=None, dtype=torch.float64)
    mean, var, count = np.zeros(4), np.ones(4), np.zeros((), np.int64)
    for n in range(1, 5):
        x = rng.normal(n, n, (10 * n, 4))
        layer(torch.from_numpy(x))
        fs.batch_norm(x, running_mean=mean, running_var=var, momentum=None, num_batches=count)
        assert count == n == int(layer.num_batches_tracked)
        close(mean, layer.running_mean.numpy(), 1e-14)
        close(var, layer.running_var.numpy(), 1e-14)
    fs.batch_norm(x, running_mean=mean, running_var=var, training=False, momentum=None, num_batches=count)
    assert count == 4


def x32(*shape: int) -> Array:
    """Return an array that is like no other argument's default."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) % 17


def read_only(a: Array) -> Array:
    a.flags.writeable = False
    return a


whole = x32(9, 3, 4)
REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"x": [1.0]}, TypeError, r"x must be a numpy.ndarray of float32 or float64; got list"),
    ({"x": x32(4, 3).astype(np.float16)}, TypeError, r"x must be float32 or float64 in native byte order; got float16"),
    ({"x": x32(4)}, ValueError, r"x must be of at least 2 axes; got float32 \(4,\)"),
    ({"x": x32(0, 3)}, ValueError, r"x must not be empty|x must be not empty; got float32 \(0, 3\)"),
    ({"x": x32(4, 0)}, ValueError, r"x must be not empty; got float32 \(4, 0\)"),
    ({"x": x32(1, 3)}, ValueError, r"x must be of more than one value per channel where training is True; got .*\(1, 3\)"),
    ({"x": x32(4, 6)[:, ::2]}, ValueError, r"x must be C-contiguous .* got float32 \(4, 3\) with strides \(24, 8\)"),
    ({"axis": 3}, ValueError, r"axis must be an axis of x float32 \(8, 3, 4\); got 3"),
    ({"axis": -4}, ValueError, r"axis must be an axis of x"),
    ({"eps": -1.0}, ValueError, r"eps must be finite and at least 0; got -1"),
    ({"eps": float("nan")}, ValueError, r"eps must be finite"),
    ({"momentum": 1.5}, ValueError, r"momentum must be None or from 0 to 1; got 1.5"),
    ({"momentum": None}, ValueError, r"num_batches must be given where momentum is None"),
    ({"num_batches": np.zeros(2, np.int64)}, TypeError, r"num_batches must be None or an int64 array of one item"),
    ({"num_batches": np.zeros(1, np.int32)}, TypeError, r"num_batches must be None or an int64 array of one item"),
    ({"num_batches": read_only(np.zeros(1, np.int64))}, ValueError, r"num_batches must be writeable"),
    ({"gamma": x32(4)}, ValueError, r"gamma must be None or a C-contiguous float32 \(3,\); got float32 \(4,\)"),
    ({"beta": np.zeros(3)}, ValueError, r"beta must be None or a C-contiguous float32 \(3,\); got float64 \(3,\)"),
    ({"running_mean": None}, ValueError, r"running_var must be given together with running_mean"),
    ({"running_var": None}, ValueError, r"running_var must be given together with running_mean"),
    ({"running_mean": None, "running_var": None, "training": False}, ValueError, r"running_mean must be given where"),
    ({"running_mean": read_only(x32(3))}, ValueError, r"running_mean must be writeable; got a read-only float32 \(3,\)"),
    ({"running_mean": x32(6)[::2]}, ValueError, r"running_mean must be None or a C-contiguous"),
    ({"residual": x32(8, 3)}, ValueError, r"residual must be like x: float32 \(8, 3, 4\); got float32 \(8, 3\)"),
    ({"out": x32(8, 3, 5)}, ValueError, r"out must be like x: float32 \(8, 3, 4\); got float32 \(8, 3, 5\)"),
    ({"out": np.zeros((8, 3, 4))}, ValueError, r"out must be like x"),
    ({"out": read_only(x32(8, 3, 4))}, ValueError, r"out must be writeable; got a read-only"),
    ({"x": whole[:8], "out": whole[1:]}, ValueError, r"out must be in memory of its own; got memory shared with a part"),
    ({"residual": whole[:8], "out": whole[1:]}, ValueError, r"out must be in memory of its own"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "error", "message"), REFUSED, ids=lambda v: str(v)[:40])
def test_refusals_write_nothing(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {
        "x": x32(8, 3, 4), "gamma": x32(3), "beta": x32(3), "running_mean": x32(3), "running_var": x32(3),
        "num_batches": None, "out": x32(8, 3, 4), **changed,
    }  # fmt: skip
    if "x" in changed and "out" not in changed:
        arguments["out"] = None
    before = {k: v.tobytes() for k, v in arguments.items() if isinstance(v, np.ndarray)}
    with pytest.raises(error, match="batch_norm: " + message):
        fs.batch_norm(**arguments)
    assert before == {k: v.tobytes() for k, v in arguments.items() if isinstance(v, np.ndarray)}


def test_shared_running_statistics_are_refused() -> None:
    both, x = x32(3), x32(8, 3)
    with pytest.raises(
        ValueError, match="running_mean must be in memory of its own; got memory shared with running_var"
    ):
        fs.batch_norm(x, None, None, both, both)
    with pytest.raises(ValueError, match="running_mean must be in memory of its own; got memory shared with gamma"):
        fs.batch_norm(x, both, None, both, x32(3))
    with pytest.raises(ValueError, match="running_var must be in memory of its own; got memory shared with x"):
        fs.batch_norm(x, None, None, x32(3), x[0])
    with pytest.raises(ValueError, match="out must be in memory of its own; got memory shared with gamma"):
        fs.batch_norm(x, x[0], None, out=x)


def test_backward_refusals_write_nothing() -> None:
    x, dy, dx = x32(8, 3, 4), x32(8, 3, 4), x32(9, 3, 4)
    _, saved = fs.batch_norm(x)
    _, with_mask = fs.batch_norm(x, residual=dy, relu=True)
    refused: list[tuple[Any, type[Exception], str]] = [
        ((dy, None), TypeError, "saved must be the second result of batch_norm; got NoneType"),
        ((dy[:4], saved), ValueError, r"dy must be like x: float32 \(8, 3, 4\); got float32 \(4, 3, 4\)"),
        ((dy.astype(np.float64), saved), ValueError, "dy must be like x"),
        ((np.asfortranarray(dy), saved), ValueError, "dy must be C-contiguous"),
        ((dy, saved, dx), ValueError, "out must be like x"),
        ((dy, saved, read_only(x32(8, 3, 4))), ValueError, "out must be writeable"),
        ((dy, saved, x), ValueError, "out must be in memory of its own; got memory shared with x"),
        ((dx[:8], saved, dx[1:]), ValueError, "out must be in memory of its own; got memory shared with a part of dy"),
        ((dy, saved, (None, None)), ValueError, "out must be one array"),
        ((dy, with_mask, (dx[:8], dx[1:])), ValueError, "out must be in memory of its own; got memory shared with dx"),
    ]
    before = [a.tobytes() for a in (x, dy, dx)]
    for args, error, message in refused:
        with pytest.raises(error, match="batch_norm_backward: " + message):
            fs.batch_norm_backward(*args)
    assert before == [a.tobytes() for a in (x, dy, dx)]
