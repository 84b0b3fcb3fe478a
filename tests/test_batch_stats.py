"""BatchStats computes the mean and variance of each channel over several arrays, which it gets one after the other."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.ops import _batch_norm_reference as reference
from support.bits import assert_same_bits, every_dtype
from support.machines import MACHINES, running


def of(*arrays: Any, axis: int = 1) -> fs.BatchStats:
    """Return the statistics of all arrays together."""
    stats = fs.BatchStats()
    for a in arrays:
        stats.update(a, axis)
    return stats


@pytest.mark.parametrize("machine", MACHINES, ids=str)
@every_dtype
def test_batch_statistics_have_the_bits_of_their_numpy_reference(
    rng: np.random.Generator, machine: Any, dtype: Any
) -> None:
    for shape, axis in (((9, 5, 37, 11), 1), ((9, 37, 11, 5), -1), ((3000, 70), 1), ((1, 2, 33_333), 1)):
        x = rng.normal(100, 1, shape).astype(dtype)
        with running(machine):
            stats = of(x, axis=axis)
        mean, m2 = reference.moments(reference.channels_first(x, axis))
        assert_same_bits(stats.mean, mean)
        assert_same_bits(stats.m2, m2)
        assert stats.count == x.size // shape[axis]


def test_statistics_of_parts_equal_the_statistics_of_the_whole_array(rng: np.random.Generator) -> None:
    """Either one BatchStats gets all parts, or each part has its own BatchStats and the test merges all of them.

    In both cases, the statistics equal those of the whole array up to rounding. If one BatchStats gets all parts, and
    every cut is at a multiple of 1,024 rows, all bits are equal. The statistics of the whole array are also compared
    with statistics in longdouble.
    """
    x = rng.normal(1e4, 1e-2, (5000, 7)).astype(np.float32)
    whole = of(x)
    for cuts in ([1], [1, 2, 3], [2500], [1000, 4999], [17, 333, 4000]):
        parts = np.split(x, cuts)
        in_turn, merged = of(*parts), fs.BatchStats()
        for part in parts:
            merged.merge(of(part))
        for stats in (in_turn, merged):
            assert stats.count == 5000
            np.testing.assert_allclose(stats.mean, whole.mean, rtol=1e-10)
            np.testing.assert_allclose(stats.var(), whole.var(), rtol=1e-6)
    blocks = of(*np.split(x, [1024, 4096]))
    assert_same_bits(blocks.mean, whole.mean)
    assert_same_bits(blocks.m2, whole.m2)
    exact = x.astype(np.longdouble)
    np.testing.assert_allclose(whole.mean, exact.mean(0).astype(float), rtol=1e-11)
    np.testing.assert_allclose(whole.var(unbiased=True), exact.var(0, ddof=1).astype(float), rtol=1e-6)


def test_statistics_equal_those_of_batch_norm(rng: np.random.Generator) -> None:
    x = rng.normal(size=(40, 3, 50))
    _, saved = fs.batch_norm(x, eps=0.25)
    assert_same_bits(of(x).mean, saved.mean)
    assert_same_bits(1 / np.sqrt(of(x).var() + 0.25), saved.invstd)


def test_statistics_of_a_memory_map_and_of_an_array_have_the_same_bits(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(4096, 8)).astype(np.float32)
    x.tofile(tmp_path / "x.bin")
    mapped = np.memmap(tmp_path / "x.bin", np.float32, "r", shape=x.shape)
    assert_same_bits(of(*np.split(mapped, 4)).m2, of(x).m2)


def test_statistics_can_be_merged_with_empty_statistics_and_with_themselves(rng: np.random.Generator) -> None:
    """If one of the two is empty, the result equals the other. If both are the same, all values count twice."""
    some = of(rng.normal(size=(5, 3)))
    mean = some.mean
    some.merge(fs.BatchStats())
    assert_same_bits(some.mean, mean)
    empty = fs.BatchStats()
    assert empty.count == 0 and empty.mean.size == 0
    empty.merge(some)
    assert_same_bits(empty.mean, mean)
    some.merge(some)
    assert some.count == 10
    np.testing.assert_allclose(some.mean, mean, rtol=1e-15)


def test_batch_statistics_refuse_wrong_arguments() -> None:
    stats = of(np.ones((4, 3)))
    for call, error, message in (
        (lambda: stats.update(np.ones((4, 2))), ValueError, "update: x must be of 3 channels, .*; got 2 channels"),
        (lambda: stats.update(np.ones((0, 3))), ValueError, "update: x must be an array that is not empty"),
        (lambda: stats.update(np.ones((4, 3), int)), TypeError, "update: x must be float32, float64, float16 or"),
        (lambda: stats.update(np.ones((4, 6))[:, ::2]), ValueError, "update: x must be C-contiguous"),
        (lambda: stats.merge(of(np.ones((4, 2)))), ValueError, "merge: other must be of 3 channels, .*; got 2"),
        (lambda: stats.update(np.ones((4, 3)), axis=1.0), TypeError, "update: axis must be a whole number; got 1.0"),
        (lambda: stats.update(np.ones((4, 3)), axis=2**70), ValueError, "update: axis must be an axis of x"),
        (lambda: stats.merge(3), TypeError, "merge: other must be a BatchStats; got int"),
        (lambda: fs.BatchStats().var(), ValueError, "var: count must be at least 1; got 0"),
        (lambda: of(np.ones((1, 3))).var(unbiased=True), ValueError, "var: count must be at least 2; got 1"),
    ):
        with pytest.raises(error, match=message):
            call()
    assert stats.count == 4
    assert_same_bits(stats.mean, np.ones(3))


def test_pickled_and_copied_statistics_equal_the_original_and_can_be_merged(rng: np.random.Generator) -> None:
    """Loading a pickle with a wrong state raises an error."""
    stats = of(rng.normal(size=(50, 3)))
    for same in (pickle.loads(pickle.dumps(stats)), copy.deepcopy(stats)):
        assert same.count == 50
        assert_same_bits(same.mean, stats.mean)
        assert_same_bits(same.m2, stats.m2)
        same.merge(stats)
        assert (same.count, stats.count) == (100, 50)
    assert pickle.loads(pickle.dumps(fs.BatchStats())).count == 0
    moments = stats._moments
    for state in ((), (1, [], []), (0, [1.0], [1.0]), (-1, [], []), (3, [1.0], [1.0, 2.0])):
        with pytest.raises(ValueError, match="state must be a count"):
            type(moments).__new__(type(moments)).__setstate__(state)
