"""Initial weights have the variance and range of their formulas, and depend only on the generator."""

from __future__ import annotations

import doctest
import math
import pickle
from typing import Any

import numpy as np
import pytest

from fusedstep import init, nn

SHAPE = (300, 200)
SIGMA = {"fan_in": 1 / math.sqrt(300), "glorot": math.sqrt(2 / 500), "he": math.sqrt(2 / 300)}


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize("rule", SIGMA)
def test_initial_weights_have_the_standard_deviation_of_the_formula(rule: str, distribution: str, scale: float) -> None:
    """The absolute values of uniform weights are at most sqrt(3) sigma, where sigma is the standard deviation.

    68.3% of the normal weights have an absolute value below sigma.
    """
    w = getattr(init, rule)(distribution, scale)(SHAPE, np.random.default_rng(1), np.float64)
    sigma = scale * SIGMA[rule]
    # For 60,000 draws, the standard error of the mean is sigma / 245.
    # The standard error of the standard deviation is at most 0.3% of sigma.
    assert abs(w.mean()) < 4 * sigma / 245
    assert w.std() == pytest.approx(sigma, rel=0.012)
    if distribution == "uniform":
        assert abs(w).max() <= math.sqrt(3) * sigma
        assert abs(w).max() > 0.999 * math.sqrt(3) * sigma
    else:
        assert np.mean(abs(w) < sigma) == pytest.approx(0.6827, abs=0.008)


def test_glorots_uniform_weights_are_within_the_bounds_of_the_paper() -> None:
    """The bounds are -a and a, where a = sqrt(6 / (fan_in + fan_out))."""
    w = init.glorot()((64, 10), np.random.default_rng(0), np.float64)
    assert abs(w).max() <= math.sqrt(6 / 74)


def test_float32_weights_are_the_rounded_float64_weights_of_the_same_seed() -> None:
    """Another seed gives other weights."""
    make = init.he("normal")
    double = make(SHAPE, np.random.default_rng(5), np.float64)
    single = make(SHAPE, np.random.default_rng(5), np.float32)
    assert single.dtype == np.float32
    assert np.array_equal(single, double.astype(np.float32))
    assert not np.array_equal(double, make(SHAPE, np.random.default_rng(6), np.float64))


def test_zero_output_weights_give_every_class_the_same_probability() -> None:
    """If 7 classes have the same probability, the negative log-likelihood of each class is log 7."""
    model = nn.Sequential(nn.Linear(5, 7, weight_init=init.zeros()), rng=0)
    x = np.random.default_rng(0).random((4, 5)).astype(np.float32)
    assert nn.SoftmaxNLL()(model.forward(x), np.arange(4)) == pytest.approx(math.log(7), rel=1e-6)


def test_a_bias_of_minus_1_reduces_the_share_of_active_hidden_units_by_more_than_half() -> None:
    def active(bias: float) -> float:
        """Return the share of positive outputs."""
        layer = nn.Linear(50, 400, weight_init=init.he(), bias_init=init.constant(bias))
        model = nn.Sequential(layer, nn.ReLU(), rng=0)
        return float(np.mean(model.forward(np.random.default_rng(1).random((64, 50)).astype(np.float32)) > 0))

    assert active(-1.0) < 0.5 * active(0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: init.he("gauss"), r'he: distribution must be "uniform" or "normal"; got \'gauss\''),
        (lambda: init.glorot(scale=0), r"glorot: scale must be a finite number > 0; got 0"),
        (lambda: init.fan_in(scale=math.nan), r"fan_in: scale must be a finite number > 0; got nan"),
        (lambda: init.constant(math.inf), r"constant: value must be a finite number; got inf"),
        (lambda: init.Scaled("lecun"), r"Scaled: rule must be one of fan_in, glorot, he; got 'lecun'"),
        (lambda: init.he().std((3,)), r"he: shape must be \(fan_in, fan_out\), each at least 1; got \(3,\)"),
        (lambda: init.he().std((0, 3)), r"each at least 1; got \(0, 3\)"),
    ],
)
def test_initializers_refuse_wrong_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_pickle_and_eval_of_the_repr_give_an_equal_initializer() -> None:
    for make in (init.he("normal", 0.5), init.zeros(), init.constant(-1.0)):
        assert pickle.loads(pickle.dumps(make)) == make
        assert eval(repr(make), vars(init)) == make


@pytest.mark.thread_unsafe
def test_docstring_examples_run() -> None:
    result = doctest.testmod(init)
    assert result.attempted > 0 and result.failed == 0


@pytest.mark.parametrize(
    ("kind", "std"),
    [(nn.ReLU, 0.2**0.5), (nn.Tanh, 0.1**0.5), (nn.HardTanh, 0.1**0.5), (nn.Sigmoid, 4 * 0.1**0.5)],
)
def test_each_activation_has_its_usual_initializer_of_weights(kind: Any, std: float) -> None:
    """ReLU has He's initializer. Tanh and HardTanh have Glorot's. The sigmoid has Glorot's, times four."""
    assert kind.weight_init().std((10, 10)) == pytest.approx(std)
