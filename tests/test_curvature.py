"""Functions that use second derivatives: Hessians, the kinds of critical points, sharpness and Newton steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import inspect, nn
from support.surfaces import Array, Quadratic, network

pytest.importorskip("scipy")
KEY = fs.Key(11)


# Hessians


def test_hessian_of_a_quadratic_function_is_its_matrix() -> None:
    """The Hessian-vector product is the product of this matrix and the vector."""
    f = Quadratic([3, 1, -2, 0.5, 0])
    rng = np.random.default_rng(0)
    theta, v = rng.standard_normal(5), 1e3 * rng.standard_normal(5)
    np.testing.assert_allclose(inspect.hessian_vector_product(f, v, theta), f.A @ v, rtol=1e-8, atol=1e-6)
    np.testing.assert_allclose(inspect.hessian(f, theta), f.A, atol=1e-9)
    assert not inspect.hessian_vector_product(f, np.zeros(5), theta).any()


def test_hessian_of_a_network_agrees_with_second_differences_of_the_loss() -> None:
    """The test also compares the result of `hessian_vector_product` with `H @ v`, where H is the Hessian."""
    model, x, labels = network()
    f = inspect.objective(model, nn.SoftmaxNLL(), x, labels)
    H, v, h = inspect.hessian(f), fs.gaussian_noise(f.theta.size, 1.0, KEY, dtype=np.float64), 1e-3
    second = (f.value(f.theta + h * v) - 2 * f.value(f.theta) + f.value(f.theta - h * v)) / h**2
    assert v @ H @ v == pytest.approx(second, rel=1e-4)
    np.testing.assert_allclose(inspect.hessian_vector_product(f, v), H @ v, atol=1e-7)


@pytest.mark.parametrize("d", [8, 200])
def test_extreme_eigenvalues_are_those_of_the_matrix(d: int) -> None:
    """The test also checks the eigenvectors. A second call returns exactly the same eigenvalues."""
    values = np.concatenate([[-5, -4.5], np.linspace(-1, 1, d - 4), [7, 9]])
    f = Quadratic(values)
    ends = inspect.extreme_eigenvalues(f, np.ones(d), k=2)
    np.testing.assert_allclose(ends.smallest, [-5, -4.5], rtol=1e-5)
    np.testing.assert_allclose(ends.largest, [7, 9], rtol=1e-5)
    for value, vectors in ((ends.smallest, ends.smallest_vectors), (ends.largest, ends.largest_vectors)):
        np.testing.assert_allclose(f.A @ vectors, vectors * value, atol=2e-3)
    again = inspect.extreme_eigenvalues(f, np.ones(d), k=2)
    assert np.array_equal(again.largest, ends.largest) and np.array_equal(again.smallest, ends.smallest)


def test_eigenvalues_of_a_semidefinite_hessian_converge_if_many_are_zero() -> None:
    """The Hessian of f is positive semidefinite. The Hessian of -f is negative semidefinite."""
    f = Quadratic(np.concatenate([np.zeros(150), [1, 10]]))
    ends = inspect.extreme_eigenvalues(f, np.zeros(152))
    assert ends.largest[0] == pytest.approx(10, rel=1e-6) and abs(ends.smallest[0]) < 1e-4
    negative = inspect.extreme_eigenvalues(lambda t: tuple(-np.array(r) for r in f(t)), np.zeros(152))  # type: ignore[arg-type, return-value]
    assert negative.smallest[0] == pytest.approx(-10, rel=1e-6) and abs(negative.largest[0]) < 1e-4


def test_eigenvalues_of_many_magnitudes_converge() -> None:
    ends = inspect.extreme_eigenvalues(Quadratic(np.concatenate([np.logspace(-12, 0, 150), [10]])), np.zeros(151))
    assert ends.largest[0] == pytest.approx(10, rel=1e-6) and 0 <= ends.smallest[0] < 1e-3


# critical points


@pytest.mark.parametrize(
    ("eigenvalues", "kind"),
    [
        ([1, 2], "minimum"),
        ([-1, 2], "saddle"),
        ([-1, -2], "maximum"),
        ([0, 2], "flat minimum"),
        ([0, -2], "flat maximum"),
        ([0, 0], "plateau"),
        (np.linspace(-1, 1, 100), "saddle"),
    ],
)
def test_critical_points_are_classified_by_their_eigenvalues(eigenvalues: Any, kind: str) -> None:
    """A point where the gradient is not zero is "not critical"."""
    f = Quadratic(eigenvalues)
    f.b[:] = 0  # f has no linear term, so its gradient at 0 is 0
    point = inspect.critical_point(f, np.zeros(len(f.b)))
    assert point.kind == kind and point.gradient_norm == 0
    assert point.smallest == pytest.approx(min(eigenvalues), abs=1e-5)
    if np.any(eigenvalues):
        assert inspect.critical_point(f, np.ones(len(f.b))).kind == "not critical"


def test_zero_weights_of_a_tanh_network_are_a_saddle() -> None:
    model, x, _ = network()
    model.arena[:] = 0
    t = np.random.default_rng(0).standard_normal((10, 3))
    f = inspect.objective(model, nn.MeanSquaredError(), x, t - t.mean(axis=0))  # targets of mean 0 give gradient 0
    assert inspect.critical_point(f).kind == "saddle"


def test_sharpness_of_a_quadratic_is_computed_at_a_corner_of_the_box() -> None:
    """The sharpness is 100 * (m - f(theta)) / (1 + f(theta)), where m is the largest value of f in the box.

    The box contains each point t with |t_i - theta_i| <= epsilon * (|theta_i| + 1) for all i.
    """
    theta, epsilon = np.array([1.0, -3.0, 0.0]), 1e-2

    def f(t: Array) -> tuple[float, Array]:
        d = t - theta
        return 0.5 + float(d @ d), 2 * d

    corner = float(np.sum((epsilon * (np.abs(theta) + 1)) ** 2))
    assert inspect.sharpness(f, theta, epsilon=epsilon) == pytest.approx(100 * corner / 1.5, rel=1e-6)


def test_narrow_minimum_is_sharper_than_a_wide_minimum() -> None:
    wide, narrow = (inspect.sharpness(lambda t, c=c: (c * float(t @ t), 2 * c * t), np.zeros(5)) for c in (1, 100))
    assert narrow == pytest.approx(100 * wide, rel=1e-6)


# Newton


def test_newton_step_minimizes_a_quadratic_and_large_damping_gives_the_gradient_direction() -> None:
    """`newton_step` returns theta - rate * (A + damping * I)^-1 g, where A is the Hessian and g is the gradient."""
    f, theta = Quadratic([1, 100, 3, 1e3]), np.ones(4)
    np.testing.assert_allclose(f(inspect.newton_step(f, theta))[1], 0, atol=1e-4)
    damped = inspect.newton_step(f, theta, damping=1e9)
    np.testing.assert_allclose(theta - damped, f(theta)[1] / 1e9, rtol=1e-4)
    np.testing.assert_allclose(
        theta - inspect.newton_step(f, theta, damping=2.0, rate=0.5),
        0.5 * np.linalg.solve(f.A + 2 * np.eye(4), f(theta)[1]),
        rtol=1e-5,
    )


def test_newton_step_goes_to_a_saddle_and_a_damped_step_reduces_the_loss() -> None:
    f = Quadratic([2, -1])
    f.b[:] = 0  # f has no linear term, so its saddle is at 0
    theta = np.array([0.3, 0.4])
    np.testing.assert_allclose(inspect.newton_step(f, theta), 0, atol=1e-6)
    assert f(inspect.newton_step(f, theta, damping=1.5))[0] < f(theta)[0]


def test_damped_newton_steps_train_a_small_network_faster_than_gradient_descent() -> None:
    model, x, labels = network()
    f = inspect.objective(model, nn.SoftmaxNLL(), x, labels)
    newton, plain = f.theta, f.theta
    for _ in range(10):
        newton = inspect.newton_step(f, newton, damping=0.3)
        plain = plain - 0.3 * f(plain)[1]
    assert f.value(newton) < 0.5 * f.value(plain) < f.value(f.theta)


def test_scipy_minimizes_the_rosenbrock_function_with_our_hessian_products() -> None:
    optimize = pytest.importorskip("scipy.optimize")

    def f(t: Array) -> tuple[float, Array]:
        return float(optimize.rosen(t)), optimize.rosen_der(t)

    start = np.array([-1.2, 1.0, -0.5, 0.8])
    np.testing.assert_allclose(inspect.hessian(f, start), optimize.rosen_hess(start), rtol=1e-6, atol=1e-4)
    found = optimize.minimize(
        f, start, jac=True, hessp=lambda t, v: inspect.hessian_vector_product(f, v, t), method="trust-ncg"
    )
    np.testing.assert_allclose(found.x, 1, atol=1e-4)  # scipy stops at a gradient norm of 1e-4
    assert inspect.critical_point(f, found.x).kind == "minimum" and found.nit < 60
