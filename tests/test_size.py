"""Tensors of more than 2^31 elements, step numbers above 2^31, and a million tensors give correct results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs
from support.bits import Array
from support.oracle import Options, actual, every_class, expected

BLOCK = 1 << 20  # the tests fill and compare large arrays in blocks of this many elements
SIZE = (1 << 31) + 3 * BLOCK + 7
GIB = 1 << 30


def needs(gib: float) -> None:
    """Skip the test if fewer than `gib` + 2 GiB of memory are free."""
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    except OSError:
        pytest.skip("/proc/meminfo, which contains the size of free memory, does not exist")
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    if free < (gib + 2) * GIB:
        pytest.skip(f"the test needs {gib + 2:.0f} GiB of free memory; {free / GIB:.0f} GiB are free")


def blocks(*arrays: Array) -> Iterator[tuple[int, list[Array]]]:
    """Cut flat arrays into blocks. Yield the number and the arrays of each block."""
    for k, first in enumerate(range(0, arrays[0].size, BLOCK)):
        yield k, [a[first : first + BLOCK] for a in arrays]


@pytest.fixture
def values(rng: np.random.Generator) -> Array:
    return rng.uniform(1, 2, BLOCK).astype(np.float32)


@pytest.mark.nightly
def test_step_of_a_tensor_of_more_than_2_to_the_31_elements_is_correct(values: Array) -> None:
    needs(16)
    p, g = np.empty(SIZE, np.float32), np.empty(SIZE, np.float32)
    for k, (a, b) in blocks(p, g):
        np.add(values[: a.size], k, out=a)
        np.multiply(values[: b.size], k % 61, out=b)
    info = fs.SGD([p], lr=0.5).step([g], skip_nonfinite=True)
    assert not info.skipped
    for k, (a,) in blocks(p):
        v = values[: a.size]
        assert (a == (v + np.float32(k)) - np.float32(0.5) * (v * np.float32(k % 61))).all(), k


@pytest.mark.nightly
def test_step_of_tensors_of_more_than_2_to_the_31_elements_in_total_is_correct(values: Array) -> None:
    """Each gradient is one row, broadcast to the parameter's shape. The norm is that of all gradients together."""
    needs(8)
    rows = SIZE // BLOCK // 3
    params = [np.zeros((rows, BLOCK), np.float32) for _ in range(3)]
    params.append(np.zeros((5, BLOCK), np.float32))
    g = [np.broadcast_to(values, p.shape) for p in params]
    info = fs.SGD(params, lr=1.0).step(g, clip_norm=1.0)
    squares = (3 * rows + 5) * float(values.astype(np.float64) @ values)
    assert sum(p.size for p in params) > 1 << 31
    assert info.grad_norm == pytest.approx(squares**0.5, rel=1e-12)
    want = -(values * np.float32(info.clip_coef))
    assert all((row == want).all() for p in params for row in p)


@pytest.mark.nightly
def test_dropout_of_more_than_2_to_the_31_elements_is_correct(values: Array) -> None:
    """Each block of the result equals the result of dropout on the same block of the input."""
    needs(8)
    x, key = np.empty(SIZE, np.float32), fs.Key(3, 1)
    for k, (a,) in blocks(x):
        np.add(values[: a.size], k, out=a)
    fs.dropout(x, 0.5, key, out=x)
    for k, (a,) in blocks(x):
        assert (a == fs.dropout(values[: a.size] + np.float32(k), 0.5, key, offset=k * BLOCK)).all(), k


@pytest.mark.nightly
def test_batch_norm_of_more_than_2_to_the_31_elements_is_correct(values: Array) -> None:
    """The mean, the inverse standard deviation and the output are compared with NumPy's."""
    needs(8)
    x = np.empty(SIZE, np.float32)
    total = 0.0
    for k, (a,) in blocks(x):
        np.add(values[: a.size], k % 7, out=a)
        total += float(a.sum(dtype=np.float64))
    mean, squares = total / SIZE, 0.0
    for _, (a,) in blocks(x):
        d = a - mean
        squares += float(d @ d)
    invstd = 1 / (squares / SIZE + 1e-5) ** 0.5
    batch = x.reshape(1, 1, SIZE)
    y, saved = fs.batch_norm(batch, out=batch)
    assert y is batch
    np.testing.assert_allclose([saved.mean[0], saved.invstd[0]], [mean, invstd], rtol=1e-6)
    for k, (a,) in blocks(x):
        np.testing.assert_allclose(a, (values[: a.size] + (k % 7) - mean) * invstd, atol=2e-6, err_msg=str(k))


@pytest.mark.parametrize("count", [2**31 - 1, 2**32 - 1, 2**53])
@every_class
def test_step_counts_beyond_2_to_the_31_are_exact(
    cls: type[fs.optim.Optimizer], count: int, rng: np.random.Generator
) -> None:
    """After a state with step number `count` is loaded, two steps give the results of NumPy, bit for bit."""
    p, options = rng.standard_normal(50), Options(lr=lambda t: 0.1 * (t - count))
    grads = [rng.standard_normal(50) for _ in range(2)]

    def from_there() -> fs.optim.Optimizer:
        opt = cls([p.copy()], **options)
        opt.load_state_dict({**opt.state_dict(), "step": count, "steps": {0: count}})
        return opt

    opt = from_there()
    actual(opt, grads, {}).assert_same_bits(expected(from_there(), grads, {}), count)
    assert opt.steps == count + 2


@pytest.mark.nightly
@every_class
def test_a_million_tensors_have_the_bits_of_one_tensor(cls: type[fs.optim.Optimizer], rng: np.random.Generator) -> None:
    """After one step with `clip_norm`, tensors of one element are compared with one tensor of a million elements."""
    p, g = rng.standard_normal((2, 1_000_000))
    want = p.copy()
    cls([want]).step([g], clip_norm=1.0)
    opt = cls(np.split(p, p.size))
    opt.step(np.split(g, g.size), clip_norm=1.0)
    assert p.tobytes() == want.tobytes()
