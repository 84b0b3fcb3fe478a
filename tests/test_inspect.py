"""Tests of `fusedstep.inspect`: gradient checks, a loss along lines and on planes, bias and variance, and plots."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import inspect, nn
from support.surfaces import Array, Quadratic, network

pytest.importorskip("scipy")
KEY = fs.Key(11)


# objective


def test_objective_has_the_gradient_of_the_model_and_does_not_change_the_model() -> None:
    """The gradient agrees with `backward` of the model. Calls with other parameter values do not change the model."""
    model, x, labels = network(np.float32, nn.BatchNorm())
    before = model.state_dict()
    for training in (False, True):
        f = inspect.objective(model, nn.SoftmaxNLL(), x, labels, training=training)
        value, gradient = f(f.theta)
        f(f.theta + 1)
        assert gradient.dtype == np.float64
        assert f.value(f.theta) == value == f(f.theta)[0]
        assert f.shapes == {name: p.shape for name, p in model.params.items()}
        assert np.array_equal(f.split(f.theta)["0.weight"], model.params["0.weight"])
    assert all(np.array_equal(before[name], array) for name, array in model.state_dict().items())
    loss = nn.SoftmaxNLL()
    model.backward(loss.gradient(model.forward(x.astype(np.float32), training=True), labels))
    np.testing.assert_allclose(gradient, model.grad_arena, rtol=1e-3, atol=1e-6)


def test_objective_keeps_its_dropout_masks_in_training_and_is_the_plain_loss_otherwise() -> None:
    """In training, each key has its own masks. The plain loss contains neither dropout nor the penalty of a layer."""
    model, x, labels = network(np.float64, nn.Dropout(0.5), nn.L1Activity(0.1))
    f, g = (inspect.objective(model, nn.SoftmaxNLL(), x, labels, training=True, key=fs.Key(k)) for k in (1, 2))
    assert f.value(f.theta) == f.value(f.theta) != g.value(g.theta)
    plain = inspect.objective(model, nn.SoftmaxNLL(), x, labels)
    assert plain.value(plain.theta) == pytest.approx(nn.SoftmaxNLL()(model.predict(x), labels))


# gradient check


def test_gradient_check_names_the_parameter_whose_gradient_is_wrong() -> None:
    """One element of a correct gradient is multiplied by 1 + 1e-5."""
    model, x, labels = network()
    f = inspect.objective(model, nn.SoftmaxNLL(), x, labels)
    assert inspect.check_gradient(f)

    class Wrong:
        theta, shapes = f.theta, f.shapes

        def __call__(self, theta: Array) -> tuple[float, Array]:
            value, gradient = f(theta)
            f.split(gradient)["2.weight"][1, 2] *= 1 + 1e-5
            return value, gradient

    check = inspect.check_gradient(Wrong())
    assert not check and check.worst.startswith("2.weight[5]: gradient ")
    assert [name for name, error in check.errors.items() if error > 1e-7] == ["2.weight"]
    assert "the gradients differ" in str(check)


def test_gradient_check_fails_for_nan_and_passes_for_gradients_of_zero() -> None:
    assert not inspect.check_gradient(lambda t: (float(t @ t), t * [2.0, np.nan]), [1.0, 2.0])
    assert inspect.check_gradient(lambda t: (1.0, 0 * t), [1.0, 2.0])
    assert inspect.check_gradient(lambda t: (float(t @ t), 2 * t), [0.0, 0.0])


def test_gradient_check_of_7_coordinates_calls_the_function_15_times() -> None:
    """One call gives the gradient. Two more calls per coordinate give the central difference."""
    calls = []

    def f(theta: Array) -> tuple[float, Array]:
        calls.append(1)
        return float(np.sum(np.sin(theta))), np.cos(theta)

    assert inspect.check_gradient(f, np.linspace(0, 1, 1000), coordinates=7)
    assert len(calls) == 1 + 14


# a loss along lines and on planes


def test_random_direction_has_the_column_norms_of_the_weights_and_depends_on_the_key() -> None:
    """The direction is 0 for biases and for the parameters of batch norm."""
    model, x, labels = network(np.float64, nn.BatchNorm())
    f = inspect.objective(model, nn.SoftmaxNLL(), x, labels)
    own, parts = f.split(f.theta), f.split(inspect.random_direction(f, KEY))
    for name, part in parts.items():
        if name.endswith("weight"):
            np.testing.assert_allclose(np.linalg.norm(part, axis=0), np.linalg.norm(own[name], axis=0), rtol=1e-12)
        else:
            assert not part.any()
    assert np.array_equal(inspect.random_direction(f, KEY), inspect.random_direction(f, KEY))
    assert not np.array_equal(inspect.random_direction(f, KEY), inspect.random_direction(f, fs.Key(12)))


def test_line_and_plane_through_a_quadratic_have_its_curvature_and_values() -> None:
    """The directions are eigenvectors of the quadratic's matrix. Their eigenvalues are 2 and -3."""
    f = Quadratic([2, -3])
    up, down = np.linalg.eigh(f.A)[1].T[::-1]
    line = inspect.line(f, up, np.ones(2), span=(-2, 1), points=7)
    np.testing.assert_allclose(line.curvature, 2, rtol=1e-9)
    assert line.at[0] == -2
    assert line.values[4] == pytest.approx(f(np.ones(2))[0])
    assert line.is_convex()
    assert not inspect.line(f, down, np.ones(2)).is_convex()
    plane = inspect.plane(f, up, down, np.ones(2), points=5)
    assert plane.values[3, 1] == pytest.approx(f(np.ones(2) - 0.5 * up + 0.5 * down)[0])


def test_line_between_two_parameter_vectors_starts_and_ends_with_their_losses() -> None:
    model, x, labels = network()
    f = inspect.objective(model, nn.SoftmaxNLL(), x, labels)
    other = np.random.default_rng(0).standard_normal(f.theta.size)
    line = inspect.line(f, other - f.theta, span=(0, 1), points=11)
    assert line.values[0] == pytest.approx(f.value(f.theta))
    assert line.values[-1] == pytest.approx(f.value(other))


# bias and variance


def test_squared_loss_is_the_sum_of_bias_and_variance() -> None:
    """A polynomial of degree 1 has more bias than one of degree 6, and less variance. Equal keys give equal results."""
    rng = np.random.default_rng(0)
    X = rng.random((40, 1))
    y = np.sin(6 * X[:, 0]) + 0.3 * rng.standard_normal(40)

    def polynomial(degree: int) -> Any:
        def fit(X: Array, y: Array) -> Any:
            coefficients = np.polynomial.polynomial.polyfit(X[:, 0], y, degree)
            return lambda X: np.polynomial.polynomial.polyval(X[:, 0], coefficients)

        return fit

    degree_1, degree_6 = (inspect.bias_variance(polynomial(d), X, y, X, y, rounds=60, key=KEY) for d in (1, 6))
    for parts in (degree_1, degree_6):
        assert parts.loss == pytest.approx(parts.bias + parts.variance, rel=1e-12)
        assert parts.net_variance == pytest.approx(parts.variance)
        assert parts.predictions.shape == (60, 40)
    assert degree_1.bias > 2 * degree_6.bias
    assert degree_6.variance > 1.2 * degree_1.variance
    again = inspect.bias_variance(polynomial(1), X, y, X, y, rounds=60, key=KEY)
    assert np.array_equal(again.predictions, degree_1.predictions)


def test_bias_variance_of_a_mean_agrees_with_the_closed_form() -> None:
    """The mean of a bootstrap sample of y has the variance y.var() / n, where n is the length of y."""
    y = np.random.default_rng(1).standard_normal(50)
    parts = inspect.bias_variance(lambda X, y: lambda X: np.full(len(X), y.mean()), y, y, y[:1], y[:1], rounds=2000)
    assert parts.variance == pytest.approx(y.var() / 50, rel=0.15)


def test_variance_raises_the_zero_one_loss_for_a_right_main_prediction_and_lowers_it_for_a_wrong_one() -> None:
    """The main prediction is the most frequent one. Here it is 1, because about 70% of the rounds predict 1.

    The correct label is 1 in the first call of `bias_variance`, and 0 in the second.
    """
    y = np.array([1] * 70 + [0] * 30)
    draw = lambda X, y: lambda X: np.full(len(X), y[0])  # noqa: E731
    parts = inspect.bias_variance(draw, y, y, np.zeros(1), np.array([1]), rounds=1000, loss="zero_one")
    assert parts.bias == 0
    assert parts.loss == parts.variance == parts.net_variance == pytest.approx(0.3, abs=0.05)
    parts = inspect.bias_variance(draw, y, y, np.zeros(1), np.array([0]), rounds=1000, loss="zero_one")
    assert parts.bias == 1
    assert parts.net_variance == pytest.approx(-parts.variance) == pytest.approx(-0.3, abs=0.05)


# plots


def test_plots_are_drawn_into_the_given_axes_or_into_a_new_figure() -> None:
    """With given axes, pyplot opens no figure."""
    figures = pytest.importorskip("matplotlib.figure")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    ax, before = figures.Figure().subplots(), pyplot.get_fignums()
    f = Quadratic([1, 2])
    line, plane = inspect.line(f, [1, 0], [0, 0]), inspect.plane(f, [1, 0], [0, 1], [0, 0], points=5)
    assert line.plot(ax, label="f") is ax and ax.get_xlabel() and ax.get_ylabel()
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), line.values)
    assert plane.plot(figures.Figure().subplots()).get_ylabel() == "step along the second direction"
    curves = {"training": [3.0, 2.0, 1.0], "validation": [3.0, 2.5, math.nan, 2.75]}
    drawn = inspect.plot_curves(curves, figures.Figure().subplots(), best="validation", log=True)
    assert drawn.get_yscale() == "log" and drawn.lines[2].get_xdata()[0] == 2
    assert pyplot.get_fignums() == before
    new = line.plot()
    assert pyplot.get_fignums() == [*before, new.figure.number]
    pyplot.close(new.figure)


# mistakes


def test_inspect_without_scipy_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name == "scipy" or name.startswith("scipy.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"the package scipy is missing: pip install 'fusedstep\[inspect\]'"):
        inspect.newton_step(Quadratic([1, 2]), np.ones(2))


F = Quadratic([1, 2])
MODEL, ROWS, LABELS = network()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: inspect.check_gradient(F),
            ValueError,
            r"check_gradient: theta must be given if f is not an Objective; got None",
        ),
        (lambda: inspect.check_gradient(F, [[1.0]]), ValueError, r"theta must have the shape \(d,\) with d >= 1; got"),
        (
            lambda: inspect.check_gradient(lambda t: 1.0, [1.0]),
            TypeError,
            r"f must return a tuple of two, \(value, gradient\); got float",
        ),
        (lambda: inspect.check_gradient(lambda t: (1.0, t[:1]), [1.0, 2.0]), ValueError, r"gradient of shape \(2,\)"),
        (
            lambda: inspect.check_gradient(F, [1.0, 2.0], tol=0),
            ValueError,
            r"check_gradient: tol must be above 0; got 0",
        ),
        (lambda: inspect.hessian(3, [1.0]), TypeError, r"hessian: f must be a function of a vector; got int"),
        (lambda: inspect.hessian(F, [np.nan, 0]), ValueError, r"hessian: theta must be finite; got nan"),
        (lambda: inspect.hessian_vector_product(F, [1.0], [1.0, 2.0]), ValueError, r"v must have the shape \(2,\)"),
        (lambda: inspect.extreme_eigenvalues(F, [1.0, 2.0], k=3), ValueError, r"k must be from 1 to 2; got 3"),
        (
            lambda: inspect.critical_point(F, [1.0, 2.0], curvature_tol=-1),
            ValueError,
            r"curvature_tol must be at least 0",
        ),
        (lambda: inspect.random_direction(F, KEY), TypeError, r"random_direction: f must be an Objective"),
        (
            lambda: inspect.line(F, [1, 0], [0, 0], span=(1, 1)),
            ValueError,
            r"line: span must be two numbers, the first below the second",
        ),
        (lambda: inspect.line(F, [1, 0], [0, 0], points=2), ValueError, r"line: points must be at least 3; got 2"),
        (
            lambda: inspect.objective(nn.Sequential(nn.ReLU()), nn.SoftmaxNLL(), ROWS, LABELS),
            TypeError,
            r"with parameters",
        ),
        (lambda: inspect.objective(MODEL, nn.softmax, ROWS, LABELS), TypeError, r"objective: loss must be a Loss"),
        (lambda: inspect.objective(MODEL, nn.SoftmaxNLL(), ROWS, LABELS + 5), ValueError, r"labels from 0 to 2; got"),
        (
            lambda: inspect.bias_variance(None, [1], [1], [1], [1], loss="l1"),
            ValueError,
            r'"squared" or "zero_one"; got',
        ),
        (
            lambda: inspect.bias_variance(None, [1], [1, 2], [1], [1]),
            ValueError,
            r"len\(y\) must equal len\(X\), .*; got X \(1,\), y \(2,\), X_test \(1,\), y_test \(1,\)",
        ),
        (
            lambda: inspect.bias_variance(lambda X, y: 3, [1], [1], [1], [1]),
            TypeError,
            r"the model from fit must have predict",
        ),
        (lambda: inspect.plot_curves([1.0]), TypeError, r"plot_curves: curves must be a dict of .*; got list"),
        (lambda: inspect.plot_curves({}), ValueError, r"plot_curves: curves must hold at least one"),
        (lambda: inspect.plot_curves({"a": [1]}, best="b"), ValueError, r"best must be one of \['a'\]; got 'b'"),
    ],
)
def test_functions_of_inspect_refuse_wrong_arguments(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
