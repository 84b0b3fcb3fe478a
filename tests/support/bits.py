"""Arrays with special numbers, and comparisons of arrays: bit for bit, or with a tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import fusedstep as fs

Array = np.ndarray[Any, Any]
KEY = fs.Key(0x0123456789ABCDEF, 0xFEDCBA9876543210)
DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def assert_same_bits(got: Array, want: Array, what: Any = "", *, any_nan: bool = False) -> None:
    """Assert that two arrays have equal shapes, dtypes and bits. If `any_nan` is True, a nan equals every other nan.

    `what` begins the message of an error.
    """
    assert (got.shape, got.dtype) == (want.shape, want.dtype), what
    unsigned = np.dtype(f"u{got.dtype.itemsize}")
    differ = np.ascontiguousarray(got).view(unsigned) != np.ascontiguousarray(want).view(unsigned)
    if any_nan:
        differ &= ~(np.isnan(got) & np.isnan(want))
    if differ.any():
        at = tuple(np.argwhere(differ)[0])
        pytest.fail(
            f"{what}: {differ.sum()} of {differ.size} elements are wrong; {at} must be {want[at]!r}; got {got[at]!r}"
        )


def assert_close(got: Array, want: Array, tolerance: float, what: Any = "") -> None:
    """Assert that `got` and `want` differ by at most `tolerance` times the largest absolute value in `want`."""
    error = np.abs(got.astype(np.float64) - want).max() / max(np.abs(want).max(), 1e-300)
    assert error <= tolerance, (what, error)


def numbers(rng: np.random.Generator, n: int, dtype: Any, specials: Sequence[float] = ()) -> Array:
    """Return n random numbers of many magnitudes. About one in fifty is special.

    A special number is 0, -0, a denormal, the smallest normal number, or one of `specials`.
    """
    info = np.finfo(dtype)
    odd = [0.0, -0.0, info.tiny / 2, -info.smallest_subnormal, info.tiny, *specials]
    x = (rng.standard_normal(n) * 10 ** rng.uniform(-3, 0.5, n)).astype(dtype)
    where = rng.integers(0, n, n // 50)
    x[where] = rng.choice(np.array(odd, dtype), where.size)
    return x


def values(n: int, dtype: Any) -> Array:
    """Return random numbers, among which are inf, -inf, nan and -0."""
    x = np.random.default_rng(3).standard_normal(n).astype(dtype)
    x[::17], x[1::19], x[2::23], x[3::29] = np.inf, np.nan, -np.inf, -0.0
    return x


def split(flat: Array, lengths: Sequence[int]) -> list[Array]:
    """Cut a flat array into arrays of the given lengths."""
    return np.split(flat, np.cumsum(lengths)[:-1])
