"""Gaussian noise, and the mean and variance of a function with random dropout (Monte Carlo)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.ops import _philox_reference as reference
from support.bits import KEY, Array, assert_same_bits, every_dtype, values
from support.machines import machines


@every_dtype
@pytest.mark.parametrize("offset", [0, 1, 2, 3, 255, 2**32 - 3, 2**34 - 600, 2**63 - 1])
def test_gaussian_noise_has_the_bits_of_the_numpy_reference(dtype: Any, offset: int) -> None:
    for n in (0, 1, 2, 3, 30, 257, 60007):
        z = reference.normals(KEY.seed, KEY.stream, offset, n, dtype)
        x, std = values(n, dtype), np.dtype(dtype).type(0.3)
        for machine in machines((1, 4) if n > 300 else (1,)):
            noise = fs.gaussian_noise(n, 0.3, KEY, offset, dtype=dtype)
            assert_same_bits(noise, z * std, machine)
            assert_same_bits(fs.gaussian_noise(x, 0.3, KEY, offset), x + z * std, machine)
        y = x.copy()
        assert fs.gaussian_noise(y, 0.3, KEY, offset, out=y) is y
        assert_same_bits(y, x + z * std)


def test_gaussian_noise_agrees_with_the_box_muller_formula() -> None:
    w = reference.words(KEY.seed, KEY.stream, 0, 200000).astype(np.float64)
    radius, angle = np.sqrt(-2 * np.log((w[0::2] + 0.5) / 2**32)), 2 * np.pi * w[1::2] / 2**32
    exact = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(-1)
    z64, z32 = (fs.gaussian_noise(200000, 1.0, KEY, dtype=d) for d in (np.float64, np.float32))
    assert abs(z64 - exact).max() < 1e-14
    assert abs(z32 - exact).max() < 5e-6


@pytest.mark.parametrize("words", [(0, 0), (2**32 - 1, 2**32 - 1), (2**31, 2**29), (1, 2**29 - 1), (2**24, 7 << 29)])
def test_noise_of_extreme_random_words_is_finite(words: tuple[int, int]) -> None:
    """Two random words (32-bit numbers) give a radius, a cosine and a sine.

    The two numbers of noise are radius * cosine and radius * sine. The test calls functions of the NumPy
    reference. Another test shows that the kernels have the bits of this reference.
    """
    w = np.array(words, np.uint32)
    for t in (np.float32, np.float64):
        u = (t(65536) * t(w[0] >> 16) + t(w[0] & 0xFFFF) + t(0.5)) * t(2.0**-32)
        radius = np.sqrt(t(-2) * reference.logarithm(np.array([u], t)))
        assert np.isfinite(radius).all() and radius <= 6.8
        cosine, sine = reference.on_circle(w[1:], t)
        assert cosine**2 + sine**2 == pytest.approx(1, abs=3e-7)


# Monte Carlo


def test_dropout_moments_equal_mean_and_variance_of_the_draws() -> None:
    """NumPy computes mean and variance of the 50 recorded draws. Equal keys give equal results."""
    x = np.array([1.0, -2.0, 1e6]).astype(np.float32)
    seen: list[Array] = []

    def f(key: fs.Key) -> Array:
        seen.append(fs.dropout(x, 0.25, key))
        return seen[-1]

    m = fs.dropout_moments(f, 50, fs.Key(4))
    outputs = np.array(seen, np.float64)
    np.testing.assert_allclose(m.mean, outputs.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(m.variance, outputs.var(axis=0), rtol=1e-12)
    assert m.draws == 50 and m.mean.dtype == m.variance.dtype == np.float64
    assert np.array_equal(fs.dropout_moments(lambda k: fs.dropout(x, 0.25, k), 50, fs.Key(4)).mean, m.mean)
    one_less = fs.dropout_moments(lambda k: fs.dropout(x, 0.25, k), 50, fs.Key(4), ddof=1)
    np.testing.assert_allclose(one_less.variance, outputs.var(axis=0, ddof=1), rtol=1e-12)


def test_dropout_moments_are_accurate_for_a_large_mean_and_a_reused_output_array() -> None:
    """`f` writes each draw into the same array. If there is only one draw, the variance is 0."""
    buffer = np.zeros(1)

    def f(key: fs.Key) -> Array:
        buffer[0] = 1e9 + (key.stream % 2)
        return buffer

    m = fs.dropout_moments(f, 200, fs.Key(4))
    ones = sum(fs.Key(4).fold(j).stream % 2 for j in range(200)) / 200
    assert m.mean[0] == pytest.approx(1e9 + ones, abs=1e-6)
    assert m.variance[0] == pytest.approx(ones * (1 - ones), rel=1e-6)
    assert fs.dropout_moments(lambda key: 3.0, 1, fs.Key(4)).variance == 0
