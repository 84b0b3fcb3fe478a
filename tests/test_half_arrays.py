"""Optimizers accept parameters of float16 and bfloat16, and gradients of other dtypes and other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_dtypes import bfloat16

import fusedstep as fs
from fusedstep.optim import _reference
from support.oracle import CLASSES, variants

every_class = pytest.mark.parametrize("cls", CLASSES)
HALVES = {"float16": np.float16, "bfloat16": bfloat16}
LENGTHS = (1, 7, 513, 1500)  # the kernels convert 256 elements at a time to float32


def draw(n: int, seed: int, dtype: Any) -> Any:
    rng = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        return (rng.standard_normal(n) * 10 ** rng.uniform(-4, 3, n)).astype(np.float32).astype(dtype)


def same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32), equal_nan=True))


@pytest.mark.parametrize("half", HALVES)
@every_class
def test_step_of_16_bit_parameters_has_the_bits_of_a_float32_step_rounded_once(cls: Any, half: str) -> None:
    """NumPy computes the expected results in float32. Parameters and states are rounded to 16 bits after each step.

    The averages stay float32.
    """
    dtype = HALVES[half]
    for options in variants(cls):
        params = [draw(n, n, dtype) for n in LENGTHS]
        opt = cls(params, **{"lr": 0.1, **options}, ema_decay=0.9)
        want = [p.copy() for p in params]
        averages = [p.astype(np.float32) for p in params]
        states = [{s: a.copy() for s, a in opt.state[i].items()} for i in range(len(params))]
        for t in (1, 2):
            grads = [draw(n, 100 * t + n, dtype) for n in LENGTHS]
            opt.step(grads)
            for i, g in enumerate(grads):
                wide = {s: a.astype(np.float32) if a.dtype == dtype else a for s, a in states[i].items()}
                with np.errstate(all="ignore"):
                    new = _reference.step(
                        cls, want[i].astype(np.float32), g.astype(np.float32), wide, t, 0.1, opt.groups[0]
                    )
                    averages[i] = _reference.average(averages[i], new, 0.9)
                    want[i] = np.asarray(new, np.float32).astype(dtype)
                    states[i] = {s: np.asarray(a).astype(states[i][s].dtype) for s, a in wide.items()}
        for i, p in enumerate(params):
            assert p.dtype == dtype and same(p, want[i]), options
            assert all(same(opt.state[i][s], a) and opt.state[i][s].dtype == a.dtype for s, a in states[i].items())
            assert opt.ema[i].dtype == np.float32 and same(opt.ema[i], averages[i])


LAYOUTS = {
    "plain": lambda a: a,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "every second column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "negative strides": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
}
OTHERS = [np.float32, np.float16, bfloat16]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parameters_and_gradients_of_float32_float16_and_bfloat16_can_be_combined(layout: str) -> None:
    """The gradients have several memory layouts. The step equals a step with the gradient converted to float32.

    Parameters and gradients of float64 cannot be combined with other dtypes.
    """
    for mine in OTHERS:
        for other in OTHERS:
            p = draw(40 * 20, 0, mine).reshape(40, 20)
            q = p.copy()
            g = draw(40 * 20, 1, other).reshape(40, 20)
            for param, grad in ((p, LAYOUTS[layout](g)), (q, np.ascontiguousarray(g.astype(np.float32)))):
                fs.Adam([param], lr=0.1).step([grad])
            assert same(p, q) and not same(p, draw(40 * 20, 0, mine).reshape(40, 20))
    for mine, other in ((np.float32, np.float64), (np.float64, np.float32), (bfloat16, np.float64)):
        with pytest.raises(ValueError, match=r"grads\[0\] must be"):
            fs.SGD([np.zeros(3, mine)], lr=0.1).step([np.zeros(3, other)])


def test_averages_of_float16_parameters_are_float32_also_while_averaged_is_active() -> None:
    p = np.ones(5, np.float16)
    opt = fs.SGD([p], lr=1.0, ema_decay=0.5)
    opt.step([np.ones(5, np.float16)])
    with opt.averaged():
        assert (p == 0.5).all() and opt.ema[0].dtype == np.float32  # type: ignore[index]
    assert (p == 0).all()


def test_states_of_16_bit_parameters_are_saved_and_loaded() -> None:
    """A second optimizer loads the state dict. The next steps of the two optimizers are equal."""
    p, q = draw(9, 0, bfloat16), draw(9, 0, bfloat16)
    first, second = fs.Adam([p], ema_decay=0.9), fs.Adam([q], ema_decay=0.9)
    first.step([draw(9, 1, np.float32)])
    q[...] = p
    second.load_state_dict(first.state_dict())
    for opt in (first, second):
        opt.step([draw(9, 2, np.float32)])
    assert same(p, q)


def test_numpy_optimizer_reads_and_zeroes_gradients_in_the_memory_of_torch_tensors(torch: Any) -> None:
    """Float32 parameters accept gradients that are tensors of float32, float16 and bfloat16.

    Float64 parameters refuse a float32 tensor as gradient. Tensors are refused as parameters. The test zeroes only the
    float32 gradient.
    """
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        p, q = np.ones((3, 4), np.float32), np.ones((3, 4), np.float32)
        g = torch.arange(12, dtype=dtype).reshape(4, 3).t()
        fs.SGD([p], lr=0.5).step([g], zero_grads=dtype is torch.float32)
        fs.SGD([q], lr=0.5).step([np.arange(12, dtype=np.float32).reshape(4, 3).T])
        assert np.array_equal(p, q)
        assert dtype is not torch.float32 or not g.any(), "the tensor's own memory must be zeroed"
    with pytest.raises(ValueError, match=r"grads\[0\] must be"):
        fs.SGD([np.ones(3)], lr=0.5).step([torch.ones(3)])
    with pytest.raises(TypeError, match=r"fusedstep\.torch"):
        fs.SGD([torch.ones(3)], lr=0.5)


def test_numpy_optimizer_accepts_gradients_of_jax() -> None:
    """JAX's arrays are read-only, so `zero_grads` refuses them."""
    numbers = pytest.importorskip("jax.numpy")
    p = np.ones((3, 4), np.float32)
    opt = fs.SGD([p], lr=0.5)
    opt.step([numbers.ones((3, 4), np.float32)])
    opt.step([numbers.ones((3, 4), numbers.bfloat16)])
    assert (p == 0).all()
    with pytest.raises(ValueError, match="writeable"):
        opt.step([numbers.ones((3, 4), np.float32)], zero_grads=True)


def test_optimizer_refuses_a_data_frame_as_params() -> None:
    class DataFrame(dict):  # type: ignore[type-arg]
        columns, dtypes = ["a"], [np.dtype(float)]

    with pytest.raises(TypeError, match=r"SGD: params must be a list or a dict of arrays; got a DataFrame, whose"):
        fs.SGD(DataFrame({"a": np.ones(3)}), lr=0.1)


def view(data: Any, memory: Any) -> Any:
    """Let Hypothesis draw a view of `memory`. Its strides are positive or negative multiples of the item size."""
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    strides = [data.draw(st.integers(-6, 6).filter(bool)) for _ in shape]
    reach = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    low, high = -sum(r for r in reach if r < 0), sum(r for r in reach if r > 0)
    start = data.draw(st.integers(low, len(memory) - 1 - high))
    return np.lib.stride_tricks.as_strided(memory[start:], shape, [4 * s for s in strides])


@given(st.data())
def test_zero_grads_refuses_gradients_exactly_if_they_share_an_element(data: Any) -> None:
    """`zero_grads` refuses two gradients that share an element, and a gradient that contains an element twice.

    It accepts all other gradients. Two elements are the same element if they have the same address.
    """
    memory = np.zeros(128, np.float32)
    a, b = view(data, memory), view(data, memory)
    twice = any(len({*np.ravel(where(v, memory))}) < v.size for v in (a, b))
    opt = fs.SGD([np.zeros(a.shape, np.float32), np.zeros(b.shape, np.float32)], lr=0.1)
    if twice or np.shares_memory(a, b):
        with pytest.raises(ValueError, match="if zero_grads is True"):
            opt.step([a, b], zero_grads=True)
    else:
        opt.step([a, b], zero_grads=True)


def where(v: Any, memory: Any) -> Any:
    """Return the index in `memory` of each element of a view."""
    first = (v.__array_interface__["data"][0] - memory.ctypes.data) // 4
    steps = [np.arange(n) * (s // 4) for n, s in zip(v.shape, v.strides, strict=True)]
    return first + sum(np.ix_(*steps))
