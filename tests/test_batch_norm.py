"""Batch normalisation: values, gradients, and results with the same bits on every machine and in every layout."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.ops import _batch_norm_reference as reference
from support.bits import DTYPES, Array, assert_close, assert_same_bits, every_dtype
from support.fences import Fenced
from support.machines import MACHINES, running
from support.norms import Case

every_machine = pytest.mark.parametrize("machine", MACHINES, ids=str)
TOLERANCE = dict(zip(DTYPES, (1e-6, 1e-13), strict=True))
# Pairs (shape, axis of the channels). The code takes different paths if an axis is shorter or longer than these sizes:
# the width of a SIMD register, a group of 32 values, a block of 1,024 values, and the number of channels that are
# processed together. Most axes here are just below, at or just above these sizes.
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


@every_dtype
@every_shape
def test_batch_norm_has_the_bits_of_its_numpy_reference(
    rng: np.random.Generator, shape: Any, axis: int, dtype: Any
) -> None:
    """The arrays are not aligned to cache lines. Nothing may be written outside the arrays."""
    case = Case(rng, shape, axis, dtype)
    fenced = Fenced([a.ravel() for a in (case.x, case.x, case.dy, case.dy)])
    x, y, dy, dx = (a.reshape(shape) for a in fenced.arrays)
    for got, want in zip(case.run(x, y, dy, dx), case.bits(), strict=True):
        assert_same_bits(got, want)
    fenced.check((shape, axis))
    assert_same_bits(x, case.x)


@every_dtype
def test_signs_of_zeros_are_those_of_the_numpy_reference(rng: np.random.Generator, dtype: Any) -> None:
    """Gamma is 0 in one channel and -0 in another. Most values of dy are 0, -0 or the smallest denormals."""
    tiny = np.finfo(dtype).smallest_subnormal
    for shape, axis in (((6, 4, 9), 1), ((54, 4), 1), ((6, 9, 4), -1)):
        for training, relu in itertools.product((True, False), repeat=2):
            case = Case(rng, shape, axis, dtype, training, relu)
            case.gamma[:] = -0.0, 0.0, -1.0, 1.0
            case.dy[...] = rng.choice(np.array([0.0, -0.0, tiny, -tiny, 0.5], dtype), shape)
            for got, want in zip(case.run(case.x, None, case.dy, None), case.bits(), strict=True):
                assert_same_bits(got, want, (shape, training, relu))


VARIANTS = list(itertools.product((True, False), repeat=3))  # (training, relu, residual)


@every_machine
@every_dtype
@pytest.mark.parametrize(("shape", "axis"), [((9, 5, 21, 19), 1), ((9, 21, 19, 5), -1), ((700, 70), 1)], ids=str)
def test_variants_have_the_bits_of_the_numpy_reference_on_every_machine(
    rng: np.random.Generator, shape: Any, axis: int, dtype: Any, machine: Any
) -> None:
    """`machine` is a combination of instruction set, threading backend and number of threads."""
    for training, relu, residual in VARIANTS:
        case = Case(rng, shape, axis, dtype, training, relu, residual)
        with running(machine):
            found = case.run(case.x, None, case.dy, None)
        for got, want in zip(found, case.bits(), strict=True):
            assert_same_bits(got, want, (training, relu, residual))


@every_machine
def test_batch_norm_has_the_bits_of_the_numpy_reference_if_stores_bypass_the_caches(
    rng: np.random.Generator, machine: Any
) -> None:
    """The arrays y and dx are so large that stores bypass the caches. y and dx are not aligned to cache lines.

    y and dresidual (the gradient of the residual) are compared with the reference. dx must be finite. Nothing may be
    written outside y and dx. `machine` is a combination of instruction set, threading backend and number of threads.
    """
    for shape, axis, at in (
        ((51, 66, 31, 31), 1, 1),
        ((101, 11_003, 3), 1, 2),
        ((1000, 3300), 1, 3),
        ((47, 31, 33, 67), -1, 2),
    ):
        x, dy = (rng.standard_normal(shape, dtype=np.float32) for _ in range(2))
        room = np.full((2, x.size + 40), 7, np.float32)
        y, dx = (r[at : at + x.size].reshape(shape) for r in room)
        with running(machine):
            _, saved = fs.batch_norm(x, axis=axis, relu=True, residual=dy, out=y)
            dresidual = fs.batch_norm_backward(dy, saved, out=dx).dresidual
        ones, zeros = np.ones(shape[axis]), np.zeros(shape[axis])
        v = reference.channels_first(x, axis)
        z = reference.like(reference.forward_bits(v, ones, zeros, saved.mean, saved.invstd), x, axis) + dy
        assert_same_bits(y, np.where(z <= 0, np.float32(0), z))
        assert_same_bits(dresidual, np.where(z <= 0, np.float32(0), dy))
        assert np.isfinite(dx).all()
        assert (room[:, :at] == 7).all() and (room[:, at + x.size :] == 7).all()


@every_dtype
def test_batch_norm_has_the_same_bits_in_every_layout(rng: np.random.Generator, dtype: Any) -> None:
    """The layouts are NCHW, NHWC and NC. In NC, each pixel of an NHWC image is a row."""
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
            assert_same_bits(got, want, layout)


@pytest.mark.parametrize(("training", "relu", "residual"), VARIANTS)
@pytest.mark.parametrize(("shape", "axis"), [((4, 3, 5), 1), ((2, 3, 2, 4), -1), ((6, 3), 1)], ids=str)
def test_batch_norm_gradients_agree_with_central_differences(
    rng: np.random.Generator, training: bool, relu: bool, residual: bool, shape: Any, axis: int
) -> None:
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
    for got, of in zip(grads, (case.x, case.gamma, case.beta, case.residual), strict=True):
        if of is None:
            assert got is None
            continue
        assert got is not None
        numeric = np.empty_like(of)
        for i in np.ndindex(of.shape):
            keep = of[i]
            of[i] = keep + h
            above = loss()
            of[i] = keep - h
            numeric[i] = (above - loss()) / (2 * h)
            of[i] = keep
        assert_close(got, numeric, 1e-7)


@every_dtype
@pytest.mark.parametrize(("training", "relu", "residual"), VARIANTS)
@pytest.mark.parametrize("given", [(1, 1), (1, 0), (0, 1), (0, 0)], ids=str)
def test_forward_and_backward_agree_with_torch(
    rng: np.random.Generator, torch: ModuleType, dtype: Any, training: bool, relu: bool, residual: bool, given: Any
) -> None:
    """`given` says whether gamma and beta are given: (1, 0) means that only gamma is given."""
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
        assert_close(got, want.numpy(), TOLERANCE[dtype])
    for got, leaf in zip(grads, inputs, strict=True):
        assert (got is None) == (leaf is None)
        if got is not None:
            assert_close(got, leaf.grad.numpy(), 4 * TOLERANCE[dtype])


def test_float64_results_agree_with_the_formula(rng: np.random.Generator) -> None:
    case = Case(rng, (300, 6, 11), 1, np.float64)
    v, dy = (reference.channels_first(a, 1) for a in (case.x, case.dy))
    mean, var = v.mean(1), v.var(1)
    y, _, _, dx, dgamma, dbeta = case.run(case.x, None, case.dy, None)
    assert_close(reference.channels_first(y, 1), reference.forward(v, case.gamma, case.beta, mean, var, 1e-5), 1e-13)
    wanted = reference.backward(v, dy, case.gamma, mean, var, 1e-5, False)
    for got, want in zip((reference.channels_first(dx, 1), dgamma, dbeta), wanted, strict=True):
        assert_close(got, want, 1e-12)


@pytest.mark.parametrize(
    ("dtype", "mean", "std", "tolerance"),
    [
        (np.float32, 1e4, 1e-2, 2e-6),
        (np.float32, -3e6, 1.0, 2e-6),
        (np.float64, 1e8, 1.0, 2e-8),
        (np.float64, 1e4, 1e-2, 2e-10),
    ],
)
@pytest.mark.parametrize("axis", [1, -1])
def test_results_are_accurate_if_the_mean_is_much_larger_than_the_standard_deviation(
    rng: np.random.Generator, dtype: Any, mean: float, std: float, tolerance: float, axis: int
) -> None:
    """For float64, the tolerance is about an ulp of the mean, divided by the standard deviation.

    For float32, the tolerance is the same for all means, because the mean is stored in float64.

    Everything is checked twice. For the second check, the first value of x is 0, which is far from the mean.
    """
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
        assert_close(saved.invstd, (1 / np.sqrt(var)).astype(np.float64), tolerance, outlier)
        assert_close(reference.channels_first(y, axis), want.astype(np.float64), tolerance, outlier)


def test_channel_with_inf_or_nan_is_nan_and_others_are_not() -> None:
    """The output of a channel with inf or nan is nan, as in torch.

    Another channel has values of about 1e30. Its output is right, although its running variance overflows to inf.
    """
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
        assert_close(v[3].astype(np.float64).var(), np.maximum(x[:, 3] / np.float64(1e30), 0).var(), 0.2)
