"""For every address and all strides, a step gives the bits that it gives for contiguous arrays."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import fusedstep as fs
from support.bits import DTYPES, Array, every_dtype, numbers, split
from support.machines import MACHINES, SERIAL, running
from support.oracle import every_class

Layout = Callable[[Array], Array]  # a copy with the same values in another layout


def c_order(x: Array) -> Array:
    return np.array(x, order="C")


def f_order(x: Array) -> Array:
    return np.array(x, order="F")


def axes(order: tuple[int, ...]) -> Layout:
    """Return a layout whose axes are in the given order in memory.

    An array with another number of axes than `order` gets Fortran order.
    """

    def lay(x: Array) -> Array:
        if x.ndim != len(order):
            return f_order(x)
        return np.array(x.transpose(order), order="C").transpose(np.argsort(order))

    return lay


def every_other(x: Array) -> Array:
    """Return an array with a gap before each element in every axis."""
    wide = np.full([2 * n + 1 for n in x.shape], np.nan, x.dtype)
    view = wide[(..., *(slice(1, None, 2) for _ in x.shape))]
    view[...] = x
    return view


def backwards(x: Array) -> Array:
    """Return an array with a negative stride in every axis."""
    every = (..., *(slice(None, None, -1),) * x.ndim)
    return np.array(x[every], order="C")[every]


def first_backwards(x: Array) -> Array:
    """Return an array with a negative stride in the first axis."""
    return np.array(x[::-1], order="C")[::-1] if x.ndim else x.copy()


def in_a_record(x: Array) -> Array:
    """Return the middle field of records that have three fields of equal size. The stride is not a power of two."""
    records = np.zeros(x.shape, [("before", x.dtype), ("value", x.dtype), ("after", x.dtype)])
    records["value"] = x
    return records["value"]


def odd_strides_of_ones(x: Array) -> Array:
    """Return an array whose axes of length 1 have strides that no contiguous array has."""
    strides = [7 if n == 1 else s for n, s in zip(x.shape, x.strides, strict=True)]
    return as_strided(x.copy(), x.shape, strides)


# Layouts without gaps, which parameters must have. Gradients may have any layout.
DENSE: list[Layout] = [c_order, f_order, odd_strides_of_ones, *map(axes, itertools.permutations(range(3)))]
ANY: list[Layout] = [*DENSE, every_other, backwards, first_backwards, in_a_record]
SHAPES = [(), (0,), (1,), (5,), (200,), (3, 0, 2), (7, 1), (1, 1, 1), (33, 70), (5, 1, 90), (4, 9, 130), (65, 2, 64)]


def result(cls: Any, params: list[Array], grads: list[Array | None], **step_options: Any) -> list[bytes]:
    """Take two steps. Return the bytes of the parameters, and of their averages, in C order."""
    opt = cls(params, lr=0.1, ema_decay=0.9, weight_decay=0.1)
    for _ in range(2):
        opt.step(grads, **step_options)
    return [a.tobytes() for a in (*params, *opt.ema)]


@every_dtype
@every_class
def test_step_has_the_same_bits_for_every_layout_of_parameters_and_gradients(
    cls: Any, dtype: Any, rng: np.random.Generator
) -> None:
    """The reference is the step of C-contiguous arrays."""
    params = [numbers(rng, max(1, int(np.prod(s))), dtype)[: int(np.prod(s))].reshape(s) for s in SHAPES]
    grads = [rng.standard_normal(s).astype(dtype) for s in SHAPES]
    want = result(cls, [p.copy() for p in params], grads, clip_norm=1e9, clip_value=0.02)
    pairs = [*itertools.product([f_order, axes((1, 2, 0))], ANY), *((dense, c_order) for dense in DENSE)]
    for of_params, of_grads in pairs:
        mine, theirs = [of_params(p) for p in params], [of_grads(g) for g in grads]
        got = result(cls, mine, theirs, clip_norm=1e9, clip_value=0.02)
        assert got == want, (of_params, of_grads)


@every_dtype
def test_step_of_300_arrays_of_mixed_layouts_has_the_same_bits_for_every_isa_and_thread_count(
    dtype: Any, rng: np.random.Generator
) -> None:
    """The reference is the step of C-contiguous arrays."""
    shapes = [tuple(rng.integers(1, 12, rng.integers(0, 5))) for _ in range(299)] + [(300, 301)]
    params = [rng.standard_normal(s).astype(dtype) for s in shapes]
    grads = [rng.standard_normal(s).astype(dtype) for s in shapes]
    dense, anyhow = rng.choice(len(DENSE), 300), rng.choice(len(ANY), 300)
    want = result(fs.AdamW, [p.copy() for p in params], grads)
    for machine in MACHINES:
        mine = [DENSE[k](p) for k, p in zip(dense, params, strict=True)]
        theirs = [ANY[k](g) for k, g in zip(anyhow, grads, strict=True)]
        with running(machine):
            assert result(fs.AdamW, mine, theirs) == want, machine


@every_class
def test_gradient_whose_elements_share_memory_gives_the_step_of_its_copy(cls: Any, rng: np.random.Generator) -> None:
    """The gradient has an axis of stride 0, or rows that overlap in memory."""
    row = rng.standard_normal((1, 130)).astype(np.float32)
    columns, windows = np.broadcast_to(row[:, :1], (50, 130)), as_strided(row, (50, 80), (4, 4))
    for g in (np.broadcast_to(row, (50, 130)), columns, windows):
        p = rng.standard_normal(g.shape).astype(np.float32)
        assert result(cls, [f_order(p)], [g]) == result(cls, [p.copy()], [g.copy()])


@pytest.mark.parametrize("lay", ANY)
@every_dtype
def test_zero_grads_zeroes_every_element_of_every_layout(lay: Layout, dtype: Any, rng: np.random.Generator) -> None:
    for shape in SHAPES:
        g = lay(rng.standard_normal(shape).astype(dtype))
        fs.SGD([np.zeros(shape, dtype)]).step([g], zero_grads=True)
        assert not g.any(), shape


def test_zero_grads_changes_no_byte_between_the_elements_of_a_strided_gradient() -> None:
    """The gaps contain NaN before and after the step."""
    for shape in SHAPES:
        g = every_other(np.ones(shape))
        fs.SGD([np.zeros(shape)]).step([g], zero_grads=True)
        assert not g.any()
        g[...] = np.nan  # now all of `g.base` is NaN if the step did not change the gaps
        assert g.base is not None and np.isnan(g.base).all(), shape


@pytest.mark.parametrize("pieces", [1, 3, 300])
@every_class
def test_step_of_a_split_array_has_the_bits_of_the_step_of_the_whole_array(
    cls: Any, pieces: int, rng: np.random.Generator
) -> None:
    """Clipping uses the norm of the whole gradient, also for the split array."""
    size = 70_001
    p, g = rng.standard_normal((2, size)).astype(np.float32)
    lengths = np.diff([0, *np.sort(rng.integers(0, size + 1, pieces - 1)), size])
    want = np.frombuffer(result(cls, [p.copy()], [g], clip_norm=0.5)[0], np.float32)
    for machine in (SERIAL[0], MACHINES[-1]):
        parts = split(p.copy(), lengths)
        with running(machine):
            result(cls, parts, split(g, lengths), clip_norm=0.5)
        assert np.concatenate(parts).tobytes() == want.tobytes()


@every_dtype
def test_gradients_can_have_other_addresses_and_strides_in_every_step(dtype: Any, rng: np.random.Generator) -> None:
    """Steps with contiguous copies of the gradients give the same bits."""
    p = rng.standard_normal((20, 20)).astype(dtype)
    plain, g = p.copy(), rng.standard_normal((20, 20)).astype(dtype)
    mine, same = fs.Adam([p]), fs.Adam([plain])
    place = g.copy()
    for k in range(12):
        view = (place, place.T, place[::-1], place[:, ::-1], ANY[k](g))[k % 5]
        mine.step([view])
        same.step([np.array(view, order="C")])
    assert p.tobytes() == plain.tobytes()


def test_step_of_only_empty_arrays_is_counted() -> None:
    """The gradient norm of this step is 0, and its clipping coefficient is 1."""
    opt = fs.Adam([np.zeros((0, 3)), np.zeros(0, np.float32)], ema_decay=0.5)
    grads = [np.zeros((0, 3)), np.zeros(0, np.float32)]
    info = opt.step(grads, clip_norm=1.0, skip_nonfinite=True, zero_grads=True)
    assert (info.step, info.grad_norm, info.clip_coef) == (1, 0.0, 1.0)


def test_step_of_a_memory_map_updates_its_file(tmp_path: Path) -> None:
    p = np.memmap(tmp_path / "weights", np.float32, "w+", shape=(100, 10))
    p[:] = 1
    fs.SGD([p], lr=1.0).step([np.full(p.shape, 0.25, np.float32)])
    p.flush()
    assert (np.fromfile(tmp_path / "weights", np.float32) == 0.75).all()


def test_step_of_an_array_in_shared_memory_is_visible_through_a_second_handle() -> None:
    """The parameter is an array in `multiprocessing.shared_memory`."""
    memory = shared_memory.SharedMemory(create=True, size=8000)
    try:
        p = np.ndarray(1000, np.float64, memory.buf)
        p[:] = 1
        opt = fs.SGD([p], lr=1.0)
        opt.step([np.full(1000, 0.25)])
        same = shared_memory.SharedMemory(memory.name)
        assert same.buf[:8] == np.float64(0.75).tobytes()
        same.close()
        del opt, p
    finally:
        memory.close()
        memory.unlink()


def test_states_are_aligned_to_64_bytes_and_have_the_layout_of_their_parameters() -> None:
    params = [np.zeros(s, t, order="F") for s in SHAPES for t in DTYPES]
    opt = fs.Adam(params, ema_decay=0.9)
    arrays = [a for state in opt.state.values() for a in state.values()]
    for a, p in zip(arrays, np.repeat(np.arange(len(params)), 2), strict=True):
        assert a.ctypes.data % 64 == 0 or a.size == 0
        assert (a.shape, a.dtype) == (params[p].shape, params[p].dtype)
        assert a.flags.f_contiguous == params[p].flags.f_contiguous
