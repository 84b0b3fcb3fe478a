"""Numbers at the limits of a dtype, and options at the limits of their ranges, give known results."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.ops import _batch_norm_reference as norms
from support.bits import Array, assert_same_bits, every_dtype
from support.machines import SERIAL, running
from support.oracle import CLASSES, every_class, snapshot
from support.refusals import assert_refused

BETAS = {"betas": (0.0, 0.0), "rho": 0.0, "alpha": 0.0}
OWN_BETAS = {"AdEMAMix": {"betas": (0.0, 0.0, 0.9)}, "AdamWScheduleFree": {"betas": (0.9, 0.0)}, "ASGD": {}}
WITH_BETAS = [(c, OWN_BETAS.get(c.__name__, {n: v for n, v in BETAS.items() if n in c.checks})) for c in CLASSES]
# States that are averages of the gradient, and states that are averages of its square.
FIRST, SECOND = {"exp_avg", "grad_avg", "exp_avg_fast"}, {"exp_avg_sq", "square_avg"}


def steps(cls: Any, grads: list[float], dtype: Any = np.float32, **options: Any) -> tuple[Array, dict[str, Array]]:
    """Take one step for each number in `grads`. Return the parameters and the states.

    There are 17 parameters, which start from 1. The number is the gradient of each of them.
    """
    p = np.ones(17, dtype)
    opt = cls([p], **options)
    for g in grads:
        opt.step([np.full(17, g, dtype)])
    return p, dict(opt.state[0])


@every_dtype
@pytest.mark.parametrize("before", [1e4, np.inf, np.nan])
@pytest.mark.parametrize(("cls", "options"), [w for w in WITH_BETAS if w[1]], ids=lambda w: getattr(w, "__name__", ""))
def test_states_equal_the_last_gradient_or_its_square_if_all_betas_are_0(
    cls: Any, options: Any, before: float, dtype: Any
) -> None:
    """The first gradient is `before`, and the last one is 1e-4.

    In float32, the formula m + (1 - beta) (g - m) with m = 1e4, g = 1e-4 and beta = 0 would give 0 instead of g.
    """
    centered = {"centered": True} if "centered" in cls.checks else {}
    _, state = steps(cls, [before, 1e-4], dtype, **options, **centered)
    g = dtype.type(1e-4)
    for name, want in [*((n, g) for n in FIRST), *((n, g * g) for n in SECOND)]:
        if name in state:
            np.testing.assert_array_equal(state[name], want, err_msg=name)
    assert (FIRST | SECOND) & set(state)


@every_dtype
@pytest.mark.parametrize("before", [np.inf, np.nan])
@pytest.mark.parametrize("cls", [fs.LARS, fs.Muon])
def test_momentum_of_0_forgets_inf_and_nan(cls: Any, before: float, dtype: Any) -> None:
    """After a step with inf or nan, the parameters are restored. The next step equals that of a new optimizer."""
    p, fresh, g = np.ones((4, 5), dtype), np.ones((4, 5), dtype), np.full((4, 5), 1e-4, dtype)
    opt = cls([p], momentum=0.0)
    opt.step([np.full((4, 5), before, dtype)])
    p[:] = 1
    opt.step([g])
    cls([fresh], momentum=0.0).step([g])
    assert_same_bits(p, fresh, cls.__name__)


@every_dtype
@pytest.mark.parametrize("last", [1e-4, -0.0, np.inf, np.nan])
def test_averages_of_parameters_are_exact_for_decay_0_and_1(last: float, dtype: Any) -> None:
    """With `ema_decay=0`, the average equals the parameters. With `ema_decay=1`, the average does not change."""
    for decay in (0.0, 1.0):
        for proximal in ({}, {"decay": "proximal", "l1": 1e-6}):
            p = np.full(17, 1e4, dtype)
            opt = fs.SGD([p], lr=1.0, ema_decay=decay, **proximal)
            p[:] = last
            opt.step([np.zeros(17, dtype)])
            assert opt.ema is not None
            assert_same_bits(opt.ema[0], p if decay == 0 else np.full(17, 1e4, dtype), (decay, proximal), any_nan=True)


@every_dtype
def test_average_of_a_constant_is_the_constant(dtype: Any) -> None:
    """If 0.9999 and 1e-4 are rounded to float32, their sum is not exactly 1.

    An average with these two weights would move away from the constant.
    """
    p = np.full(17, np.pi, dtype)
    opt = fs.SGD([p], ema_decay=0.9999)
    for _ in range(100):
        opt.step([np.zeros(17, dtype)])
    assert opt.ema is not None
    assert_same_bits(opt.ema[0], p)


@every_dtype
@pytest.mark.parametrize(("momentum", "dampening"), [(0.5, 1.0), (1e-300, 0.0)])
def test_an_inf_with_weight_0_does_not_enter_the_momentum(momentum: float, dampening: float, dtype: Any) -> None:
    """With `dampening=1`, every gradient after the first has the weight 0.

    With `momentum=1e-300`, the old momentum has the weight 0 in float32.
    """
    _, state = steps(fs.SGD, [1.0, np.inf, 1.0], dtype, momentum=momentum, dampening=dampening)
    if dampening == 1:
        np.testing.assert_array_equal(state["momentum_buffer"], 0.25)  # 1, halved in each of two steps
    elif dtype == np.float32:
        np.testing.assert_array_equal(state["momentum_buffer"], 1.0)


@pytest.mark.parametrize(
    ("cls", "largest"), [(fs.Adam, 1e20), (fs.AdamW, 1e20), (fs.RMSprop, 1e20), (fs.Adadelta, 5e19)]
)
def test_steps_after_a_square_overflowed_agree_with_torch(cls: Any, largest: float, torch: Any) -> None:
    """The square of the first gradient is beyond the range of float32, which ends at 3.4e38.

    But the square times its weight in the average (such as 1 - beta2) is below 3.4e38. So the average stays finite.
    """
    for machine in SERIAL:
        with running(machine):
            p, state = steps(cls, [largest, 1.0, 1.0])
            assert all(np.isfinite(a).all() for a in state.values()) and (p != 1).all(), machine
    leaf = torch.ones(17, requires_grad=True)
    theirs = getattr(torch.optim, cls.__name__)([leaf])
    for g in (largest, 1.0, 1.0):
        leaf.grad = torch.full_like(leaf, g)
        theirs.step()
    np.testing.assert_allclose(p, leaf.detach().numpy(), rtol=1e-6)
    for name, array in state.items():
        np.testing.assert_allclose(array, theirs.state[leaf][name].numpy(), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("cls", "large"), [(fs.Adam, 6e20), (fs.RMSprop, 2e20), (fs.Adadelta, 6e19), (fs.Adagrad, 2e19)]
)
def test_parameter_does_not_change_if_its_average_of_squares_is_inf(cls: Any, large: float, torch: Any) -> None:
    """The square of the first gradient, times its weight in the average, is beyond the range of float32.

    Adagrad keeps a sum of squares instead of an average. The parameter does not change in torch either.
    """
    p, state = steps(cls, [large, 1.0, 1.0])
    assert any(np.isinf(a).all() for a in state.values()) and (p == 1).all()
    leaf = torch.ones(17, requires_grad=True)
    theirs = getattr(torch.optim, cls.__name__)([leaf])
    for g in (large, 1.0, 1.0):
        leaf.grad = torch.full_like(leaf, g)
        theirs.step()
    assert (leaf == 1).all()


@pytest.mark.parametrize("grads", [[1e38], [1e38, 1e38], [3e38, -3e38], [-1e38, 3e38], [1e25, 1.0]])
def test_parameters_do_not_change_if_squares_in_centered_rmsprop_overflow(grads: list[float], torch: Any) -> None:
    """The RMSprop of torch does not change the parameters either."""
    for alpha in (0.99, 0.9):
        p, _ = steps(fs.RMSprop, grads, centered=True, alpha=alpha)
        np.testing.assert_array_equal(p, np.float32(1))
        leaf = torch.ones(17, requires_grad=True)
        theirs = torch.optim.RMSprop([leaf], centered=True, alpha=alpha)
        for g in grads:
            leaf.grad = torch.full_like(leaf, g)
            theirs.step()
        np.testing.assert_array_equal(p, leaf.detach().numpy())


@pytest.mark.parametrize("zero_grads", [False, True])
@every_class
def test_step_is_skipped_if_division_by_grad_scale_overflows(cls: Any, zero_grads: bool) -> None:
    """The float32 gradient 1e30 is divided by 1e-10. With `skip_nonfinite`, no byte of parameters and states changes.

    `zero_grads` zeroes the gradients, although the step is skipped.
    """
    p, q = np.ones(17, np.float32), np.ones(3)
    opt = cls([p, q], ema_decay=0.9)
    before = snapshot(opt)
    grads = [np.full(17, 1e30, np.float32), np.ones(3)]
    info = opt.step(grads, grad_scale=1e-10, skip_nonfinite=True, zero_grads=zero_grads)
    assert (info.skipped, info.step) == (True, 0) and snapshot(opt) == before
    assert all((g == 0).all() for g in grads) == zero_grads


def test_skip_nonfinite_checks_gradients_after_scaling_and_clipping() -> None:
    """If a gradient is beyond float32 after the division by `grad_scale`, clipping can make it finite.

    Then the step is not skipped.
    """

    def step(g: Any, **options: Any) -> tuple[bool, Array]:
        p = np.zeros_like(g)
        return fs.SGD([p], lr=1.0).step([g], skip_nonfinite=True, **options).skipped, p

    assert step(np.full(3, 1e30), grad_scale=1e-10) == (False, pytest.approx(-1e40))  # float64 can represent 1e40
    skipped, p = step(np.full(4, 1e30, np.float32), grad_scale=1e-10, clip_norm=2.0)  # finite after clipping
    assert not skipped and p == pytest.approx(-1.0)
    assert step(np.float32([1e-30, 0.0]), grad_scale=1e-40)[0] is False  # 1 / grad_scale is beyond float32
    assert step(np.float32([1.0, 0.0]), grad_scale=1e-40)[0] is True
    largest = np.finfo(np.float32).max
    assert step(np.float32([largest]), grad_scale=1.0)[0] is False
    assert step(np.float32([largest]), grad_scale=0.999)[0] is True
    assert step(np.full(100, largest / 4), grad_scale=0.5)[0] is False  # only the norm is beyond float32


@pytest.mark.parametrize("sizes", [(100,), (50, 0, 50), (1, 99)])
@pytest.mark.parametrize("value", [1e-170, 5e-324, 1e-150, 2.0**-485, 0.0])
def test_gradient_norm_is_accurate_if_squares_underflow(value: float, sizes: tuple[int, ...]) -> None:
    """The gradients have 100 elements of the same value, so their norm is 10 times this value."""
    grads = [np.full(n, value) for n in sizes]
    for more in ([], [np.zeros(5, np.float32)]):
        every = [*grads, *more]
        info = fs.SGD([np.zeros_like(g) for g in every]).step(every, clip_norm=1.0)
        assert info.grad_norm == pytest.approx(10 * value, rel=1e-15, abs=0)
    small = fs.SGD([np.zeros(100, np.float32)]).step([np.full(100, 1e-45, np.float32)], clip_norm=1.0)
    assert small.grad_norm == pytest.approx(10 * float(np.float32(1e-45)))


@pytest.mark.parametrize("options", [{}, {"clip_value": 1.0}, {"grad_scale": 4.0}])
def test_clipping_is_accurate_if_the_clip_coefficient_underflows_in_float32(options: dict[str, Any]) -> None:
    """For all `options`, the norm is above 4e37, so the clip coefficient 1e-10 / norm is 0 in float32."""
    for around in ({}, {"weight_decay": 0.1}, {"maximize": True}):
        p = np.zeros(4, np.float32)
        g = np.float32([1e38, -1e38, 1e38, 0])
        fs.SGD([p], lr=1e10, **around).step([g], clip_norm=1e-10, **options)
        want = np.array([-1.0, 1.0, -1.0, 0.0]) / np.sqrt(3) * (-1 if "maximize" in around else 1)
        np.testing.assert_allclose(p, want, rtol=1e-6)


@every_class
def test_an_eps_that_is_zero_in_float32_is_refused(cls: Any, torch: Any) -> None:
    """`eps=1e-50` is refused with float32 parameters, but not with float64 parameters. `eps=0` is always accepted.

    `eps` is given to the constructor (with one array, and with two groups), then assigned to a group, and then given to
    the constructor of the class in `fusedstep.torch`.
    """
    if "eps" not in cls.checks:
        return
    name, need = cls.__name__, "eps must be 0 or at least 1.4e-45 for float32 parameters"
    with assert_refused(ValueError, f"{name}: {need}", "got 1e-50"):
        cls([np.ones(3, np.float32)], eps=1e-50)
    with assert_refused(ValueError, f"{name}: groups[1]: {need}", "got 1e-50"):
        cls([{"params": np.ones(3)}, {"params": np.ones(3, np.float32)}], eps=1e-50)
    opt = cls([np.ones(3, np.float32)], eps=0.0)
    with assert_refused(ValueError, need):
        opt.groups[0]["eps"] = 1e-50
    assert opt.groups[0]["eps"] == 0.0
    opt.groups[0]["eps"] = 1e-45
    cls([np.ones(3)], eps=1e-50)
    if cls.in_torch:
        theirs = getattr(fs.torch, name)
        with assert_refused(ValueError, f"{name}: param_groups[0]: {need}", "got 1e-50"):
            theirs([torch.ones(3, requires_grad=True)], eps=1e-50)
        theirs([torch.ones(3, dtype=torch.float64, requires_grad=True)], eps=1e-50)


@pytest.mark.parametrize(("shape", "axis"), [((40, 3, 50), 1), ((2000, 3), 1), ((9, 5), -1)])
@pytest.mark.parametrize("size", [1e-18, 1e-22, 1e-30, 0.0])
def test_batch_norm_of_numbers_whose_squares_underflow_is_accurate(shape: Any, axis: int, size: float) -> None:
    """In float32, squares below 1e-38 lose digits, and squares below 1e-45 become 0.

    `eps` is 0, because a larger `eps` would hide errors of the squares. Only if all numbers are 0, `eps` is 1e-5.
    """
    x = (size * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
    ones, zeros = np.ones(shape[axis], np.float32), np.zeros(shape[axis], np.float32)
    v = norms.channels_first(x, axis)
    for machine in SERIAL:
        with running(machine):
            y, saved = fs.batch_norm(x, ones, zeros, axis=axis, eps=0.0 if size else 1e-5)
        mean, m2 = norms.moments(v)
        np.testing.assert_array_equal(saved.mean, mean)
        np.testing.assert_array_equal(saved.invstd, 1 / np.sqrt(m2 / v.shape[1] + (0.0 if size else 1e-5)))
        exact = norms.forward(v.astype(float), ones, zeros, v.mean(1, float), v.var(1, float), 0.0 if size else 1e-5)
        np.testing.assert_allclose(norms.channels_first(y, axis), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("shape", "axis"), [((40, 3, 50), 1), ((2000, 3), 1), ((1030, 5), -1), ((4, 7, 300), 1)])
@pytest.mark.parametrize("size", [1e20, 1e37])
def test_batch_norm_gradients_of_large_numbers_are_accurate(shape: Any, axis: int, size: float) -> None:
    """If products overflow in float32, so that their sum is inf or nan, the kernel computes the sum in float64."""
    rng, channels = np.random.default_rng(0), shape[axis]
    x, dy = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    x *= np.float32(size)
    gamma = rng.uniform(1, 2, channels).astype(np.float32)
    for relu, residual in itertools.product((False, True), repeat=2):
        other = rng.standard_normal(shape).astype(np.float32) if residual else None
        for machine in SERIAL:
            with running(machine):
                y, saved = fs.batch_norm(x, gamma, np.zeros_like(gamma), axis=axis, relu=relu, residual=other)
                grads = fs.batch_norm_backward(dy, saved)
            v, dz = (norms.channels_first(a, axis) for a in (x, np.where(y <= 0, 0, dy) if relu else dy))
            exact = norms.backward(
                v.astype(float), dz.astype(float), gamma.astype(float), saved.mean, saved.invstd**-2.0, 0.0, False
            )
            largest = abs(exact[0]).max()
            assert abs(norms.channels_first(grads.dx, axis) - exact[0]).max() <= 1e-5 * largest, machine
            for got, want in ((grads.dgamma, exact[1]), (grads.dbeta, exact[2])):
                np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
            bits = norms.backward_bits(v, dz, gamma.astype(float), saved.mean, saved.invstd, False)
            assert_same_bits(norms.channels_first(grads.dx, axis), bits[0], machine)


@every_dtype
@pytest.mark.parametrize("odd", [np.inf, np.nan])
def test_running_statistics_are_exact_for_momentum_0_and_1(odd: float, dtype: Any) -> None:
    """With momentum 0, the running statistics do not change, even if the batch contains inf or nan.

    With momentum 1, the statistics of the batch replace the running statistics, even if those were inf or nan.
    """
    x, ones = np.arange(8, dtype=dtype).reshape(4, 2), np.ones(2, dtype)
    bad, before = x.copy(), (np.array([1e4, 3], dtype), np.array([2, 1e30], dtype))
    bad[1, 0] = odd
    mean, var = (a.copy() for a in before)
    fs.batch_norm(bad, ones, ones, mean, var, momentum=0.0)
    assert_same_bits(mean, before[0])
    assert_same_bits(var, before[1])
    mean[:] = var[:] = odd
    fs.batch_norm(x, ones, ones, mean, var, momentum=1.0)
    np.testing.assert_array_equal(mean, x.mean(0))
    np.testing.assert_array_equal(var, x.var(0, ddof=1).astype(dtype))


@every_dtype
@pytest.mark.parametrize("decay", [0.0, 1.0, None])
@pytest.mark.parametrize(("first", "last"), [(1e4, 1e-4), (np.inf, 2.0), (2.0, np.nan)])
def test_polyak_averages_are_exact_for_decay_0_and_1(
    decay: float | None, first: float, last: float, dtype: Any
) -> None:
    """With a decay of 0 or None, the first update sets the average to the parameters.

    With a decay of 1, the average does not change.
    """
    p = np.full(3, first, dtype)
    mean = fs.ensemble.Polyak([p], decay)
    p[:] = last
    mean.update()
    assert_same_bits(mean.values[0], np.full(3, first if decay == 1.0 else last, dtype), any_nan=True)
