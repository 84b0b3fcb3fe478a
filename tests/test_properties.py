"""A call with arrays of any layout and address gives the bits of the NumPy reference, or fails and changes nothing."""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

import fusedstep as fs
from fusedstep.ops import _batch_norm_reference, _philox_reference
from fusedstep.optim import _reference
from support.bits import DTYPES, Array, assert_same_bits, numbers
from support.layouts import dense_strides, layouts, shapes
from support.machines import MACHINES, running
from support.oracle import CLASSES, STAGES, variants

KEYS = st.builds(fs.Key, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
REFUSALS = (TypeError, ValueError)


class Subclass(np.ndarray[Any, Any]):
    """A subclass of ndarray without other behaviour."""


class Arena:
    """The memory from which the arrays of a call are taken. Arrays may be side by side or overlap."""

    def __init__(self, seed: int, dtype: Any, size: int = 1 << 14) -> None:
        self.memory = numbers(np.random.default_rng(seed), size, dtype)
        self.place = self.memory.view(np.uint8)
        self.free = 0  # memory before this position is in use

    def cut(self, shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any, start: int | None = None) -> Array:
        """Return an array in free memory, or with its lowest byte at `start`.

        If there is too little free memory, all strides are 0.
        """
        reach = [(n - 1) * s for n, s in zip(shape, strides, strict=True)] if math.prod(shape) else []
        low, high = sum(r for r in reach if r < 0), sum(r for r in reach if r > 0) + np.dtype(dtype).itemsize
        if self.free + high - low > self.place.nbytes - 64:
            strides, low, high = tuple(0 for _ in shape), 0, np.dtype(dtype).itemsize
            self.free = min(self.free, self.place.nbytes - 64)
        at = self.free if start is None else max(0, min(start, self.place.nbytes - (high - low)))
        if start is None:
            self.free += high - low
        item = np.dtype(dtype).itemsize
        origin = self.place[at - low :][:item]
        return as_strided(origin.view(dtype), shape, strides)


# What can be unusual about an array: another dtype, any strides, any address ("place"), or its axes in reverse order
# ("shape"). Or it is of a subclass of ndarray, is masked, or is read-only ("fixed").
FLAWS = ["dtype", "strides", "place", "shape", "subclass", "mask", "fixed"]


@st.composite
def arrays(draw: Any, arena: Arena, shape: tuple[int, ...], dtype: Any, dense: bool, odd: bool = True) -> Array:
    """Draw an array, usually without gaps if `dense` is True. If `odd` is True, it sometimes has one of the `FLAWS`."""
    flaw = draw(st.sampled_from([None] * 9 + FLAWS)) if odd else None
    if flaw == "dtype":
        dtype = draw(st.sampled_from([*DTYPES, np.dtype("f2"), np.dtype("i4"), np.dtype(">f4")]))
    strides = draw(layouts(shape, np.dtype(dtype).itemsize, dense and flaw != "strides"))
    start = draw(st.integers(0, arena.place.nbytes)) if flaw == "place" else None
    if start is not None and draw(st.booleans()):
        start -= start % np.dtype(dtype).itemsize
    if flaw == "shape":
        shape, strides = shape[::-1], strides[::-1]
    made = arena.cut(shape, strides, dtype, start)
    if flaw == "subclass":
        made = made.view(draw(st.sampled_from([Subclass, np.recarray, np.matrix if made.ndim == 2 else np.memmap])))
    if flaw == "mask":
        made = np.ma.MaskedArray(made, copy=False)
    if flaw == "fixed":
        made.flags.writeable = False
    return made


SEEN: Counter[str] = Counter()  # how many calls of a test were accepted, and how many were refused


def holds(property: Callable[..., None]) -> Callable[[], None]:
    """Return a test of a property.

    The test also fails if fewer than a tenth of the cases are accepted, or if fewer than a tenth are refused.
    """

    @functools.wraps(property, assigned=("__name__", "__doc__", "__module__"), updated=())
    def test() -> None:
        SEEN.clear()
        given(st.data())(property)()
        assert min(SEEN["accepted"], SEEN["refused"]) >= settings().max_examples // 10, SEEN

    del test.__wrapped__
    return test


def assert_all_or_nothing(arena: Arena, call: Callable[[], Any], wanted: Callable[[], Any]) -> None:
    """Assert that a call writes the expected results or, if the call raises an exception, changes no byte.

    `wanted` computes the expected results with NumPy, and returns pairs (array, values). The call may change no byte
    outside these arrays.
    """
    before = arena.place.copy()
    want = None
    try:
        with np.errstate(all="ignore"):
            want = wanted()
    except Exception:  # NumPy cannot compute with these arrays, so the kernel must refuse them
        pass
    try:
        call()
    except REFUSALS as error:
        assert "\n" not in str(error), error
        assert (arena.place == before).all(), error
        SEEN["refused"] += 1
        return
    assert want is not None
    SEEN["accepted"] += 1
    inside = np.zeros(arena.place.shape, bool)
    for array, values in want:
        assert_same_bits(np.asarray(array), values)
        view = as_strided(inside[(array.ctypes.data - arena.place.ctypes.data) :][:1], (*array.shape, array.itemsize),
                          (*array.strides, 1))  # fmt: skip
        view[...] = True
    assert (arena.place == before)[~inside].all()


def stepped(opt: Any, grads: list[Any], options: dict[str, Any], clip_norm: float | None) -> list[tuple[Array, Array]]:
    """Return pairs (array, expected values after a first step).

    The arrays are parameters, states, averages and, with the option `zero_grads`, gradients.
    """
    group, found, factor = opt.groups[0], [], 1.0
    if clip_norm is not None:
        flat = [None if g is None else in_memory_order(g, p) for g, p in zip(grads, opt.params, strict=True)]
        norm = _reference.norm(flat, [p.size for p in opt.params]) / options.get("grad_scale", 1.0)
        coef = np.float64(clip_norm) / (norm + 1e-6)
        factor = 1.0 if coef > 1.0 else float(coef)
    known = {k: v for k, v in options.items() if k in ("clip_value", "decay_scale")}
    lr = options.get("lr", group["lr"](1) if callable(group["lr"]) else group["lr"])
    for k, (p, g) in enumerate(zip(opt.params, grads, strict=True)):
        if g is None:
            continue
        state = {name: a.copy() for name, a in opt.state[k].items()}
        scale = factor / options.get("grad_scale", 1.0)
        new = _reference.step(type(opt), np.array(p), np.array(g), state, 1, lr, group, factor=scale, **known)
        found += [(p, new), *((opt.state[k][name], a) for name, a in state.items())]
        if opt.ema is not None:
            found.append((opt.ema[k], _reference.average(opt.ema[k].copy(), new, opt._ema_decay)))
        if options.get("zero_grads"):
            found.append((g, np.zeros_like(g, subok=False)))
    return found


def in_memory_order(g: Array, p: Array) -> Array:
    """Return the elements of a gradient in the order that the elements of the parameter have in memory."""
    axes = sorted(range(p.ndim), key=lambda d: -abs(p.strides[d]) if p.shape[d] > 1 else 0)
    return np.asarray(g).transpose(axes).ravel()


SWITCHES = [(cls, options) for cls in CLASSES for options in variants(cls)]


@holds
def test_every_step_has_the_bits_of_the_numpy_reference_or_is_refused_without_changes(data: Any) -> None:
    """Parameters, gradients, the optimizer and its options are drawn by Hypothesis. The arrays may overlap."""
    draw, dtype = data.draw, data.draw(st.sampled_from(DTYPES))
    arena = Arena(draw(st.integers(0, 99)), dtype)
    count = draw(st.integers(1, 3))
    params = []
    for _ in range(count):
        arena.free += dtype.itemsize * draw(st.integers(0, 3))
        params.append(draw(arrays(arena, draw(shapes(most=1025)), dtype, dense=True)))
    grads: list[Any] = [draw(arrays(arena, p.shape, dtype, dense=draw(st.booleans()))) for p in params]
    if draw(st.integers(0, 4)) == 0:
        grads[draw(st.integers(0, count - 1))] = None
    cls, switches = draw(st.sampled_from(SWITCHES))
    of_optimizer, of_step = STAGES[draw(st.sampled_from(sorted(STAGES)))]
    clip_norm = draw(st.sampled_from([None, None, 1e-3, 1.0, 1e9]))
    before = arena.place.copy()
    try:
        opt = cls(params, **{"lr": 0.1, **of_optimizer, **switches})
    except REFUSALS as error:
        assert "\n" not in str(error) and (arena.place == before).all()
        SEEN["refused"] += 1
        return
    own = [a for s in opt.state.values() for a in s.values()]
    unwritten = [a.tobytes() for a in own]
    with running(draw(st.sampled_from(MACHINES))):
        outside: list[tuple[Array, Array]] = []

        def wanted() -> list[tuple[Array, Array]]:
            pairs = stepped(opt, grads, of_step, clip_norm)
            outside.extend(p for p in pairs if not np.may_share_memory(p[0], arena.place))
            return [p for p in pairs if np.may_share_memory(p[0], arena.place)]

        assert_all_or_nothing(arena, lambda: opt.step(grads, clip_norm=clip_norm, **of_step), wanted)
    if opt.steps == 0:
        assert [a.tobytes() for a in own] == unwritten
    else:
        for array, values in outside:
            assert_same_bits(array, values)


@holds
def test_dropout_and_noise_have_the_bits_of_the_numpy_reference_or_are_refused_without_changes(data: Any) -> None:
    """Input, output, key and offset are drawn by Hypothesis. The arrays may overlap."""
    draw, dtype = data.draw, data.draw(st.sampled_from(DTYPES))
    arena = Arena(draw(st.integers(0, 99)), dtype)
    x = draw(arrays(arena, draw(shapes(most=4097)), dtype, dense=draw(st.booleans())))
    out = x if draw(st.booleans()) else draw(arrays(arena, x.shape, dtype, dense=draw(st.booleans())))
    key, offset = draw(KEYS), draw(st.sampled_from([0, 1, 7, 2**32 - 3, 2**63 - 1]))
    p = draw(st.sampled_from([0.0, 0.1, 0.5, 65535 / 65536, 1.0]))

    def dropped() -> list[tuple[Array, Array]]:
        kept = _philox_reference.mask(key.seed, key.stream, offset, x.size, p).reshape(x.shape)
        return [(out, _philox_reference.dropout(np.array(x), kept, p))]

    def noisy() -> list[tuple[Array, Array]]:
        z = _philox_reference.normals(key.seed, key.stream, offset, x.size, x.dtype).reshape(x.shape)
        return [(out, np.array(x) + z * x.dtype.type(0.3))]

    with running(draw(st.sampled_from(MACHINES))):
        if draw(st.booleans()):
            assert_all_or_nothing(arena, lambda: fs.dropout(x, p, key, offset=offset, out=out), dropped)
        else:
            assert_all_or_nothing(arena, lambda: fs.gaussian_noise(x, 0.3, key, offset, out=out), noisy)


class Normalisation:
    """The arguments of a batch normalisation, with all arrays in one arena, and the results of the NumPy reference."""

    def __init__(self, draw: Any, arena: Arena, dtype: Any) -> None:
        shape = draw(shapes(most=1025, least_axes=2))
        self.axis = draw(st.integers(-len(shape), len(shape) - 1))
        channels = (shape[self.axis],)

        def some(shape: tuple[int, ...]) -> Array:
            return draw(arrays(arena, shape, dtype, dense=False)) if draw(st.integers(0, 30)) == 0 else draw(
                arrays(arena, shape, dtype, dense=True, odd=draw(st.integers(0, 3)) == 0))  # fmt: skip

        self.x = self.in_c_order(some(shape), draw, arena)
        self.out = draw(st.sampled_from([self.x, self.in_c_order(some(shape), draw, arena)]))
        self.gamma, self.beta, self.mean, self.var = (some(channels) for _ in range(4))
        if self.var.flags.writeable:
            np.abs(self.var, out=self.var)
        self.training, self.relu = draw(st.booleans()), draw(st.booleans())
        self.dy, self.dx = (self.in_c_order(some(shape), draw, arena) for _ in range(2))

    @staticmethod
    def in_c_order(a: Array, draw: Any, arena: Arena) -> Array:
        """Return the array in C order, which is the only accepted order. In some cases, return the array unchanged."""
        strides = dense_strides(a.shape, tuple(range(a.ndim)), a.itemsize)
        if draw(st.integers(0, 9)) == 0 or not a.flags.forc or type(a) is not np.ndarray:
            return a
        return as_strided(a, a.shape, strides, writeable=a.flags.writeable)

    def forward(self) -> Any:
        return fs.batch_norm(
            self.x, self.gamma, self.beta, self.mean, self.var, self.training, axis=self.axis, relu=self.relu,
            out=self.out,
        )[1]  # fmt: skip

    def wanted(self) -> list[tuple[Array, Array]]:
        v = _batch_norm_reference.channels_first(np.array(self.x), self.axis)
        n, dtype, written = v.shape[1], v.dtype, []
        batch_mean, invstd = self.mean.astype(np.float64), 1 / np.sqrt(self.var.astype(np.float64) + 1e-5)
        if self.training:
            batch_mean, m2 = _batch_norm_reference.moments(v)
            invstd = 1 / np.sqrt(m2 / n + 1e-5)
            new = ((1 - 0.1) * self.mean.astype(np.float64) + 0.1 * batch_mean).astype(dtype)
            written.append((self.mean, new))
            new = ((1 - 0.1) * self.var.astype(np.float64) + 0.1 * (m2 / (n - 1))).astype(dtype)
            written.append((self.var, new))
        gamma, beta = self.gamma.astype(np.float64), self.beta.astype(np.float64)
        y = _batch_norm_reference.forward_bits(v, gamma, beta, batch_mean, invstd)
        y = np.where(y <= 0, dtype.type(0), y) if self.relu else y
        return [*written, (self.out, _batch_norm_reference.like(y, self.x, self.axis))]

    def gradient_wanted(self, saved: Any) -> list[tuple[Array, Array]]:
        v, dy = (_batch_norm_reference.channels_first(np.array(a), self.axis) for a in (saved.x, self.dy))
        gamma, beta = self.gamma.astype(np.float64), self.beta.astype(np.float64)
        if self.relu:
            y = _batch_norm_reference.forward_bits(v, gamma, beta, saved.mean, saved.invstd)
            dy = np.where(y <= 0, dy.dtype.type(0), dy)
        dx, _, _ = _batch_norm_reference.backward_bits(v, dy, gamma, saved.mean, saved.invstd, not self.training)
        return [(self.dx, _batch_norm_reference.like(dx, self.x, self.axis))]


@holds
def test_batch_norm_has_the_bits_of_the_numpy_reference_or_is_refused_without_changes(data: Any) -> None:
    """The arrays of the forward and the backward pass are drawn by Hypothesis, and may overlap."""
    draw, dtype = data.draw, data.draw(st.sampled_from(DTYPES))
    arena = Arena(draw(st.integers(0, 99)), dtype, size=1 << 15)
    call, saved = Normalisation(draw, arena, dtype), []
    with running(draw(st.sampled_from(MACHINES))):
        gamma, beta = call.gamma, call.beta
        assert_all_or_nothing(arena, lambda: saved.append(call.forward()), call.wanted)
        if saved and not any(np.may_share_memory(a, b) for a, b in itertools.product((gamma, beta), (call.dx,))):
            assert_all_or_nothing(
                arena,
                lambda: fs.batch_norm_backward(call.dy, saved[0], out=call.dx),
                lambda: call.gradient_wanted(saved[0]),
            )


@holds
def test_batch_statistics_have_the_bits_of_the_numpy_reference_or_are_refused_without_changes(data: Any) -> None:
    """The array and the axis are drawn by Hypothesis."""
    draw, dtype = data.draw, data.draw(st.sampled_from(DTYPES))
    arena = Arena(draw(st.integers(0, 99)), dtype)
    shape = draw(shapes(most=4097, least_axes=2))
    x = draw(arrays(arena, shape, dtype, dense=True))
    axis, stats = draw(st.integers(-len(shape) - 1, len(shape))), fs.BatchStats()
    with running(draw(st.sampled_from(MACHINES))):
        assert_all_or_nothing(arena, lambda: stats.update(x, axis), lambda: [])
    if stats.count:
        mean, m2 = _batch_norm_reference.moments(_batch_norm_reference.channels_first(np.array(x), axis))
        assert_same_bits(stats.mean, mean)
        assert_same_bits(stats.m2, m2)
    else:
        assert stats.mean.size == stats.m2.size == 0
