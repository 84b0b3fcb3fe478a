"""The norm of all gradients, clipping by this norm, and skipped steps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import _core
from fusedstep.optim import _reference
from support.bits import DTYPES, Array, assert_same_bits, every_dtype, numbers, split
from support.machines import MACHINES, running
from support.oracle import CLASSES, every_class, snapshot

SIZE = 100_003
BAD = [np.inf, -np.inf, np.nan]


def cuts(rng: np.random.Generator, pieces: int) -> list[int]:
    """Return as many random lengths as `pieces`. They add up to SIZE, and may be 0."""
    return list(np.diff([0, *np.sort(rng.integers(0, SIZE + 1, pieces - 1)), SIZE]))


def sgd(params: list[Array], **options: Any) -> fs.optim.Optimizer:
    return fs.SGD(params, lr=1.0, **options)


@every_dtype
def test_bits_of_the_gradient_norm_do_not_depend_on_isa_or_thread_count_or_division_into_arrays(
    dtype: Any, rng: np.random.Generator
) -> None:
    """The reference is the NumPy formula for one array."""
    flat = numbers(rng, SIZE, dtype)
    want = _reference.norm([flat], [SIZE])
    for pieces in (1, 3, 300):
        grads = split(flat, cuts(rng, pieces))
        for machine in MACHINES:
            with running(machine):
                info = sgd([np.zeros_like(g) for g in grads]).step(grads, clip_norm=1.0)
            assert info.grad_norm == want, (pieces, machine)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 15, 16, 33, 4096, 4097, SIZE])
def test_square_root_of_sum_of_squares_has_the_bits_of_the_norm(dtype: Any, n: int, rng: np.random.Generator) -> None:
    x = numbers(rng, n, dtype)
    for machine in MACHINES:
        with running(machine):
            assert math.sqrt(_core.sum_of_squares(x)) == _reference.norm([x], [n]), machine


def test_sum_of_squares_refuses_strided_and_integer_arrays() -> None:
    with pytest.raises(ValueError, match="sum_of_squares: x must be C-contiguous"):
        _core.sum_of_squares(np.ones(8)[::2])
    with pytest.raises(TypeError, match="sum_of_squares: x must be float32 or float64"):
        _core.sum_of_squares(np.ones(8, int))


@every_dtype
def test_norm_with_strided_and_missing_gradients_has_the_bits_of_the_numpy_reference(
    dtype: Any, rng: np.random.Generator
) -> None:
    flat = numbers(rng, SIZE, dtype)
    lengths = cuts(rng, 30)
    wide = np.repeat(flat, 3)[::3]
    strided: list[Array | None] = list(split(wide, lengths))
    strided[7] = None
    info = sgd([np.zeros(n, dtype) for n in lengths]).step(strided, clip_norm=1.0)
    assert info.grad_norm == _reference.norm(strided, lengths)


def test_reported_norm_is_the_norm_after_division_by_grad_scale() -> None:
    """A step without `clip_norm` and `skip_nonfinite` computes no norm and reports None."""
    info = sgd([np.zeros(2)]).step([np.array([3.0, 4.0])], clip_norm=10.0, grad_scale=0.5)
    assert (info.grad_norm, info.clip_coef) == (10.0, 10.0 / (10.0 + 1e-6))
    info = sgd([np.zeros(2)]).step([np.array([3.0, 4.0])])
    assert (info.grad_norm, info.clip_coef, info.skipped, info.step) == (None, 1.0, False, 1)


@every_dtype
@pytest.mark.parametrize("clip_norm", [0.0, 0.5, 1e9])
@every_class
def test_clipped_step_has_the_bits_of_a_step_with_scaled_gradients(
    cls: Any, clip_norm: float, dtype: Any, rng: np.random.Generator
) -> None:
    """The NumPy reference scales the gradients by clip_coef / grad_scale."""
    p, g = numbers(rng, 5000, dtype), numbers(rng, 5000, dtype)
    opt = cls([p.copy()], lr=0.1)
    state, group = {n: a.copy() for n, a in opt.state[0].items()}, opt.groups[0]
    info = opt.step([g], clip_norm=clip_norm, grad_scale=2.0)
    assert info.clip_coef == min(1.0, clip_norm / (info.grad_norm + 1e-6))
    want = _reference.step(cls, p, g, state, 1, 0.1, group, factor=info.clip_coef / 2.0)
    assert_same_bits(opt.params[0], want)


def test_clipping_agrees_with_torch(torch: Any, rng: np.random.Generator) -> None:
    """The reference is `torch.nn.utils.clip_grad_norm_` for float64 gradients."""
    for clip_norm in (0.1, 1e6):
        grads = [numbers(rng, n, np.float64) for n in (7, 1000, 3)]
        params = [np.zeros_like(g) for g in grads]
        info = sgd(params).step(grads, clip_norm=clip_norm)
        leaves = [torch.zeros(g.size, dtype=torch.float64, requires_grad=True) for g in grads]
        for leaf, g in zip(leaves, grads, strict=True):
            leaf.grad = torch.from_numpy(g.copy())
        norm = torch.nn.utils.clip_grad_norm_(leaves, clip_norm)
        assert info.grad_norm == pytest.approx(float(norm), rel=1e-14)
        for p, leaf in zip(params, leaves, strict=True):
            np.testing.assert_allclose(-p, leaf.grad.numpy(), rtol=1e-14)


@pytest.mark.parametrize("where", [0, 1, 2], ids=["first", "middle", "last"])
@pytest.mark.parametrize("bad", BAD)
@every_dtype
@every_class
def test_skipped_step_changes_no_byte(cls: Any, dtype: Any, bad: float, where: int, rng: np.random.Generator) -> None:
    """One element of one gradient is inf or nan. Parameters, averages and states are compared.

    In a skipped step, `zero_grads` still sets the gradients to zero.
    """
    params = [numbers(rng, n, dtype) for n in (70, 5000, 3)]
    opt = cls(params, ema_decay=0.9, weight_decay=0.1)
    grads = [np.ones_like(p) for p in params]
    opt.step(grads)
    before = snapshot(opt)
    grads[where][-1] = bad
    info = opt.step(grads, skip_nonfinite=True, clip_norm=1.0)
    assert (info.skipped, info.step, opt.steps) == (True, 1, 1)
    assert snapshot(opt) == before
    opt.step(grads, skip_nonfinite=True, zero_grads=True)
    assert snapshot(opt) == before and not any(g.any() for g in grads)
    assert not opt.step(grads, skip_nonfinite=True).skipped and opt.steps == 2


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_skip_nonfinite_finds_a_nan_in_a_strided_gradient(dtype: Any) -> None:
    p = np.zeros((40, 50), dtype)
    g = np.ones((50, 40), dtype).T
    g[39, 49] = np.nan
    assert sgd([p]).step([g], skip_nonfinite=True).skipped and not p.any()


def test_step_is_not_skipped_if_only_squares_of_gradients_overflow(rng: np.random.Generator) -> None:
    """The squares overflow in float64, but the gradients and their norm are finite. Clipping uses the right norm."""
    p, q, g = np.zeros(1000), np.zeros(3, np.float32), 1e200 * rng.standard_normal(1000)
    grads = [g, np.ones(3, np.float32)]
    info = sgd([p, q]).step(grads, skip_nonfinite=True)
    assert (info.grad_norm, info.skipped) == (_reference.norm(grads, [1000, 3]), False)
    np.testing.assert_array_equal(p, -g)
    for machine in MACHINES:
        with running(machine):
            assert sgd([p.copy(), q.copy()]).step(grads, clip_norm=1.0).grad_norm == info.grad_norm
    assert info.grad_norm == pytest.approx(1e200 * np.linalg.norm(g / 1e200))
    p[:] = 0
    sgd([p]).step([g], clip_norm=2.0)
    assert np.linalg.norm(p) == pytest.approx(2.0)  # torch gives 0.0


def test_float32_gradients_do_not_overflow_the_norm() -> None:
    p, g = np.zeros(4, np.float32), np.full(4, 1e38, np.float32)
    info = sgd([p]).step([g], clip_norm=1.0)
    assert info.grad_norm == pytest.approx(2e38)
    np.testing.assert_allclose(p, -0.5, rtol=1e-6)


def test_clipping_by_a_nan_or_infinite_norm_changes_parameters_as_in_torch() -> None:
    for bad, others in ((np.nan, np.nan), (np.inf, 0.0)):
        p = np.zeros(2)
        sgd([p]).step([np.array([bad, 1.0])], clip_norm=1.0)
        np.testing.assert_array_equal(p, [np.nan, others])


@pytest.mark.parametrize("pieces", [3, 300])
@every_class
def test_a_clipped_step_has_the_same_bits_for_every_split(cls: Any, pieces: int, rng: np.random.Generator) -> None:
    """One array of 100,003 elements is compared with 3 and 300 arrays of the same elements."""
    p, g = (numbers(rng, SIZE, np.float32) for _ in range(2))
    lengths = cuts(rng, pieces)
    one, many = [p.copy()], split(p.copy(), lengths)
    for arrays, grads in ((one, [g]), (many, split(g, lengths))):
        opt = cls(arrays, ema_decay=0.9)
        for _ in range(2):
            opt.step(grads, clip_norm=1.0)
    assert np.concatenate(many).tobytes() == one[0].tobytes()


def test_step_of_every_optimizer_accepts_clipping_and_skip_nonfinite() -> None:
    for cls in CLASSES:
        info = cls([np.zeros(3)]).step([np.ones(3)], clip_norm=1.0, clip_value=1.0, skip_nonfinite=True)
        assert repr(info).startswith("StepInfo(step=1, grad_norm=1.73")
