"""Dropout has the bits of its NumPy reference for every instruction set, number of threads, layout and offset."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.ops import _philox_reference as reference
from support.bits import KEY, Array, assert_same_bits, every_dtype, values
from support.fences import guarded, untouched_around
from support.machines import machines

LENGTHS = [*range(71), 511, 512, 513, 1000, 100003]
OFFSETS = [0, 1, 7, 8, 9, 505, 2**32 - 3, 2**35 - 600, 2**40 + 5, 2**63 - 1]


def expected(x: Array, p: float, offset: int, mode: str = "inverted") -> Array:
    """Return the dropout of x, computed with NumPy."""
    kept = reference.mask(KEY.seed, KEY.stream, offset, x.size, p).reshape(x.shape)
    return reference.dropout(x, kept, p) if mode == "inverted" else np.where(kept, x, x.dtype.type(0))


# The bits of the NumPy reference


@every_dtype
@pytest.mark.parametrize("offset", OFFSETS)
def test_dropout_of_every_length_has_the_bits_of_the_numpy_reference(dtype: Any, offset: int) -> None:
    """`offset` is the index of the random number that the first element uses.

    Nothing is written outside the output.
    """
    for n in LENGTHS:
        x = values(n, dtype)
        want = expected(x, 0.3, offset)
        for machine in machines((2,) if n < 1000 else (1, 2, 4)):
            out, memory = guarded(n, dtype, n % 5)
            result = fs.dropout(x, 0.3, KEY, offset=offset, out=out)
            assert result is out, (machine, n)
            assert_same_bits(out, want, (machine, n))
            assert untouched_around(out, memory), (machine, n)


@every_dtype
def test_dropout_with_every_alignment_has_the_bits_of_the_numpy_reference(dtype: Any) -> None:
    """Input and output begin at different distances from a multiple of 64 bytes."""
    for machine in machines((1,)):
        for from_start, to_start, n in itertools.product((0, 1, 4, 15), range(16), (40, 1200)):
            x, _ = guarded(n, dtype, from_start)
            x[...] = values(n, dtype)
            out, memory = guarded(n, dtype, to_start)
            fs.dropout(x, 0.5, KEY, offset=3, out=out)
            assert_same_bits(out, expected(x, 0.5, 3), (machine, from_start, to_start))
            assert untouched_around(out, memory), machine


@every_dtype
def test_dropout_of_large_arrays_has_the_same_bits_in_place_and_into_another_array(dtype: Any) -> None:
    """If arrays are this large, stores into another array bypass the cache, and stores in place do not."""
    size = (80 << 20) // np.dtype(dtype).itemsize // 2
    x, _ = guarded(size + 5, dtype, 4)
    x[...] = np.random.default_rng(1).random(x.size, dtype)
    want = expected(x, 0.1, 11)
    out = np.empty_like(x)
    assert_same_bits(fs.dropout(x, 0.1, KEY, offset=11, out=out), want)
    assert_same_bits(fs.dropout(x, 0.1, KEY, offset=11, out=x), want)


@pytest.mark.parametrize("mode", ["inverted", "vanilla"])
@pytest.mark.parametrize("p", [0.0, 1e-6, 1 / 65536, 0.1, 0.5, 65535 / 65536, 1.0])
@every_dtype
def test_dropout_with_every_probability_and_mode_has_the_bits_of_the_numpy_reference(
    dtype: Any, p: float, mode: str
) -> None:
    """In training, mode "inverted" scales the kept values, and mode "vanilla" does not. Masks are also compared."""
    x = values(5000, dtype)
    for machine in machines():
        assert_same_bits(fs.dropout(x, p, KEY, mode, 9), expected(x, p, 9, mode), machine)
        mask = fs.dropout_mask((5, 1000), p, KEY, 9)
        assert mask.dtype == bool
        assert np.array_equal(mask.reshape(-1), reference.mask(KEY.seed, KEY.stream, 9, 5000, p)), machine


def test_in_prediction_inverted_dropout_returns_a_copy_and_vanilla_dropout_scales() -> None:
    x = values(100, np.float32)
    kept = np.float32((65536 - 6554) / 65536)  # the kept fraction; p = 0.1 is rounded to 6554 / 65536
    assert_same_bits(fs.dropout(x, 0.1, KEY, training=False), x)
    assert_same_bits(fs.dropout(x, 0.1, KEY, "vanilla", training=False), x * kept)
    assert_same_bits(fs.dropout(x, 1.0, KEY, training=False), x)
    assert fs.dropout(x, 0.1, KEY, training=False) is not x


def test_a_dropped_value_is_plus_zero() -> None:
    x = np.array([np.inf, -np.inf, np.nan, -0.0, -1.0] * 200)
    for p in (0.5, 1.0):
        y = fs.dropout(x, p, KEY)
        dropped = ~fs.dropout_mask(1000, p, KEY)
        assert dropped.sum() > 300
        assert not y[dropped].view(np.uint64).any(), "all bits of a dropped value must be 0"


def test_scale_of_kept_values_uses_p_rounded_to_a_multiple_of_2_to_the_minus_16() -> None:
    """The array has one element. The key has the smallest seed whose mask keeps this element."""
    for p in (0.1, 1 / 3, 0.9):
        threshold = round(65536 * p)
        scale = fs.dropout(np.ones(1), p, fs.Key(next(s for s in range(999) if fs.dropout_mask(1, p, fs.Key(s))[0])))
        assert scale[0] * (65536 - threshold) == pytest.approx(65536, rel=1e-15)


# Positions


@every_dtype
def test_dropout_of_a_slice_equals_the_slice_of_the_dropout(dtype: Any) -> None:
    """The argument `offset` is the index of the first element of the slice. Masks are also compared.

    `dropout` and `dropout_backward` of the same array have the same bits.
    """
    x = values(3000, dtype)
    whole, backward = fs.dropout(x, 0.4, KEY), fs.dropout_backward(x, 0.4, KEY)
    assert_same_bits(whole, backward)
    mask = fs.dropout_mask(3000, 0.4, KEY)
    for begin, end in ((0, 1500), (1500, 3000), (1, 2), (7, 900), (513, 514), (2999, 3000), (40, 40)):
        assert_same_bits(fs.dropout(x[begin:end], 0.4, KEY, offset=begin), whole[begin:end])
        assert np.array_equal(fs.dropout_mask(end - begin, 0.4, KEY, begin), mask[begin:end])


def layouts(x: Array) -> dict[str, Array]:
    """Return the values of x in other layouts."""
    strided = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)[..., ::2]
    backwards = np.zeros_like(x)[::-1]
    offset = np.zeros((x.shape[0] + 1, *x.shape[1:]), x.dtype)[1:]
    for copy in (strided, backwards, offset):
        copy[...] = x
    return {"C": x.copy(), "F": np.asfortranarray(x), "strided": strided, "backwards": backwards, "offset": offset}


@pytest.mark.parametrize("shape", [(6, 50), (3, 4, 5), (1, 7), (30, 1)])
def test_dropout_does_not_depend_on_the_layout_of_input_and_output(shape: tuple[int, ...]) -> None:
    x = values(int(np.prod(shape)), np.float32).reshape(shape)
    want = fs.dropout(x, 0.3, KEY, offset=5)
    for name, a in layouts(x).items():
        assert_same_bits(fs.dropout(a, 0.3, KEY, offset=5), want, name)
        for other, out in layouts(np.full_like(x, 9)).items():
            assert fs.dropout(a, 0.3, KEY, offset=5, out=out) is out
            assert_same_bits(np.ascontiguousarray(out), want, (name, other))
        fs.dropout(a, 0.3, KEY, offset=5, out=a)  # in place
        assert_same_bits(np.ascontiguousarray(a), want, name)


def test_dropout_of_an_input_with_strides_of_zero_equals_dropout_of_its_copy() -> None:
    x = np.broadcast_to(np.arange(5, dtype=np.float32), (40, 5))
    assert_same_bits(fs.dropout(x, 0.5, KEY), fs.dropout(x.copy(), 0.5, KEY))


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (1, 1, 5)])
def test_dropout_keeps_the_shape_of_empty_and_zero_dimensional_arrays(shape: tuple[int, ...]) -> None:
    """The results of `dropout_mask` and `gaussian_noise` also have this shape."""
    x = np.ones(shape, np.float32)
    assert_same_bits(fs.dropout(x, 0.5, KEY), expected(x, 0.5, 0))
    assert fs.dropout_mask(shape, 0.5, KEY).shape == shape
    assert fs.gaussian_noise(x, 1.0, KEY).shape == shape


FEATURES = [
    ((8, 16, 5, 7), (8, 16, 1, 1)),
    ((8, 16, 5, 7), (16, 1, 1)),
    ((8, 16, 5, 7), (8, 1, 5, 1)),
    ((8, 16, 5, 7), (1, 16, 1, 7)),
    ((8, 16, 5, 7), (8, 1, 1, 7)),
    ((8, 16, 5, 7), (1,)),
    ((8, 16, 5, 7), ()),
    ((8, 16, 5, 7), (8, 16, 5, 7)),
    ((4, 30, 200), (4, 1, 200)),
    ((60, 500), (60, 1)),
    ((60, 500), (500,)),
    ((3, 1, 4), (1, 1, 4)),
    ((3, 0, 4), (3, 1, 4)),
    ((2, 40000), (2, 1)),
]


@every_dtype
@pytest.mark.parametrize(("shape", "mask"), FEATURES)
def test_dropout_mask_of_another_shape_is_broadcast(shape: tuple[int, ...], mask: tuple[int, ...], dtype: Any) -> None:
    """For example, the mask (8, 16, 1, 1) drops whole channels of an input (8, 16, 5, 7)."""
    x = values(int(np.prod(shape)), dtype).reshape(shape)
    kept = reference.mask(KEY.seed, KEY.stream, 3, int(np.prod(mask)), 0.4).reshape(mask)
    want = reference.dropout(x, np.broadcast_to(kept, shape), 0.4)
    for machine in machines((1, 2)):
        assert_same_bits(fs.dropout(x, 0.4, KEY, offset=3, shape=mask), want, machine)
        assert_same_bits(fs.dropout_backward(x, 0.4, KEY, offset=3, shape=mask), want, machine)
    y = x.copy()
    assert fs.dropout(y, 0.4, KEY, offset=3, shape=mask, out=y) is y
    assert_same_bits(y, want)
    assert_same_bits(fs.dropout(np.asfortranarray(x), 0.4, KEY, offset=3, shape=mask), want)


# Keys


def test_dropout_masks_are_equal_for_equal_keys_and_different_for_different_keys() -> None:
    rng = fs.Philox(3)
    a, b = rng.key(), rng.key()
    assert np.array_equal(fs.dropout_mask(1000, 0.5, a), fs.dropout_mask(1000, 0.5, a))
    assert 400 < (fs.dropout_mask(1000, 0.5, a) != fs.dropout_mask(1000, 0.5, b)).sum() < 600


def test_two_processes_draw_the_same_dropout_mask_and_noise_from_the_same_seed() -> None:
    program = "import fusedstep as fs, hashlib; k = fs.Philox(9).key(); d = hashlib.sha256; print(" + (
        "d(fs.dropout_mask(9999, 0.3, k).tobytes()).hexdigest(), "
        "d(fs.gaussian_noise(9999, 2.0, k).tobytes()).hexdigest())"
    )
    runs = {subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout for _ in range(2)}
    assert len(runs) == 1 and len(runs.pop().split()) == 2


# Gradients


@pytest.mark.parametrize("mode", ["inverted", "vanilla"])
@pytest.mark.parametrize("training", [True, False])
def test_dropout_gradient_agrees_with_finite_differences(mode: str, training: bool) -> None:
    """In training, the gradient is also compared with dy times the mask times the scale of kept values."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 60))
    forward: Callable[[Array], Array] = lambda v: fs.dropout(v, 0.3, KEY, mode, 5, training=training)  # noqa: E731
    dx = fs.dropout_backward(dy, 0.3, KEY, mode, 5, training=training)
    h = 2.0**-10
    numeric = [(dy @ forward(x + h * e) - dy @ forward(x - h * e)) / (2 * h) for e in np.eye(60)]
    np.testing.assert_allclose(dx, numeric, rtol=1e-9, atol=1e-11)
    if training:
        mask = fs.dropout_mask(60, 0.3, KEY, 5)
        scale = 65536 / (65536 - round(65536 * 0.3)) if mode == "inverted" else 1.0
        assert np.array_equal(dx, dy * (mask * scale))


# Torch


def test_a_dropped_inf_becomes_nan_in_torch_and_0_in_fusedstep(torch: Any) -> None:
    """Torch multiplies by the mask, and inf times 0 is nan. In fusedstep, a dropped element is 0.

    After dropout by fusedstep, the mean of 65,536 ones is still about 1.
    """
    x = np.full(4000, np.inf, np.float32)
    theirs = torch.nn.functional.dropout(torch.from_numpy(x.copy()), 0.5).numpy()
    assert np.isnan(theirs).any() and not np.isnan(fs.dropout(x, 0.5, KEY)).any()
    assert fs.dropout(np.ones(1 << 16), 0.5, KEY).mean() == pytest.approx(1, abs=0.02)
