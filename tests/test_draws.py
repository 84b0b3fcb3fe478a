"""Uniform numbers, permutations and beta variates depend only on key and index, and follow their distributions."""

from __future__ import annotations

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import _core
from fusedstep.ops import _philox_reference as reference
from support.bits import KEY
from support.machines import machines


@pytest.mark.parametrize("first", [0, 1, 255, 256, 2**32 - 3, 2**63 - 1])
def test_philox_words_equal_those_of_the_numpy_reference(first: int) -> None:
    for n in (0, 1, 3, 255, 256, 257, 1000):
        expected = reference.words(KEY.seed, KEY.stream, first, n)
        for machine in machines((1,)):
            assert np.array_equal(_core.philox_words(KEY.seed, KEY.stream, first, n), expected), machine


def test_uniform_numbers_are_uniform_and_depend_only_on_key_and_index() -> None:
    """The argument `offset` is the index of the first number."""
    u = fs.ops.uniform((200, 500), KEY)
    assert u.dtype == np.float64 and u.min() > 0 and u.max() < 1
    counts = np.histogram(u, bins=100, range=(0, 1))[0]
    # Chi-squared with 99 degrees of freedom is above 160 with probability 1e-4.
    assert ((counts - 1000) ** 2 / 1000).sum() < 160
    assert np.array_equal(fs.ops.uniform(500, KEY, offset=1000), u[2])


def test_all_permutations_of_four_elements_are_equally_likely() -> None:
    """4,800 permutations with different keys are counted by their rank in lexicographic order, from 0 to 23."""
    seen = np.zeros(24, int)
    for i in range(4800):
        order = fs.ops.permutation(4, KEY.fold(i))
        assert sorted(order) == [0, 1, 2, 3]
        seen[_rank(order)] += 1
    # Chi-squared with 23 degrees of freedom is above 58 with probability 1e-4.
    assert ((seen - 200) ** 2 / 200).sum() < 58
    assert len(fs.ops.permutation(0, KEY)) == 0


def _rank(order: np.ndarray) -> int:
    left, rank = [0, 1, 2, 3], 0
    for k, i in enumerate(order):
        rank = rank * (4 - k) + left.index(int(i))
        left.remove(int(i))
    return rank


@pytest.mark.parametrize(("a", "b"), [(0.01, 0.01), (0.2, 0.2), (1.0, 1.0), (2.0, 6.0), (50.0, 5.0), (0.5, 3.0)])
def test_beta_variates_have_the_mean_and_variance_of_the_beta_distribution(a: float, b: float) -> None:
    """The argument `offset` is the index of the first variate."""
    n = 40000
    x = fs.ops.beta(n, a, b, KEY)
    assert np.isfinite(x).all() and x.min() >= 0 and x.max() <= 1
    mean, variance = a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))
    assert abs(x.mean() - mean) < 4 * np.sqrt(variance / n)
    assert x.var() == pytest.approx(variance, rel=0.04)
    assert np.array_equal(fs.ops.beta(100, a, b, KEY, offset=500), x[500:600])


def test_beta_variates_pass_a_kolmogorov_smirnov_test_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for a, b in [(0.3, 0.3), (1.0, 1.0), (4.0, 2.0)]:
        assert stats.kstest(fs.ops.beta(20000, a, b, KEY), "beta", (a, b)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fs.ops.uniform(-1, KEY), ValueError, r"uniform: shape\[0\] must be at least 0"),
        (lambda: fs.ops.uniform((2**20, 2**20), KEY), ValueError, r"uniform: the product of shape .* below 2\*\*31"),
        (lambda: fs.ops.uniform(3, 7), TypeError, r"uniform: key must be a Key"),
        (lambda: fs.ops.permutation(2.5, KEY), TypeError, r"permutation: n must be a whole number; got 2\.5"),
        (lambda: fs.ops.beta(3, 0.0, 1.0, KEY), ValueError, r"beta: a must be above 0; got 0\.0"),
        (lambda: fs.ops.beta(3, 1.0, float("nan"), KEY), ValueError, r"beta: b must be finite; got nan"),
    ],
)
def test_random_functions_refuse_wrong_arguments(call, error, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        call()
