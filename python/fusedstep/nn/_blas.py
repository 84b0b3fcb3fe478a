"""Products of matrices that stay on one core while they are small."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ._memory import Array

# Multiplications up to which OpenBLAS works on the calling thread alone. A second thread saves some microseconds of a
# product a few times as large, and costs a hundred at the optimizer's step, which finds half of the gradient in
# another core's cache. (It also has kernels without packing for small products, which are faster here.)
ONE_CORE = 64**3
MOST_ROWS = 64  # of a batch, and
MOST_PIECES = 8  # of the network's largest product: beyond, other cores are worth their price, and have been paid
NARROWEST = 16  # elements in a piece: a vector register


@lru_cache(maxsize=256)
def _pieces(length: int, cost: int) -> tuple[slice, ...]:
    """Cut the columns or rows of a result, of so many multiplications each, into slices; none: take it whole."""
    width = ONE_CORE // max(cost, 1) // NARROWEST * NARROWEST
    if width < NARROWEST or width >= length:
        return ()
    return tuple(slice(start, min(start + width, length)) for start in range(0, length, width))


def stays_on_one_core(rows: int, largest: int) -> bool:
    """Whether a network with a weight of so many elements, and none larger, is worth no other core."""
    return rows <= MOST_ROWS and rows * largest <= MOST_PIECES * ONE_CORE


def by_columns(a: Array, b: Array, out: Array, largest: int) -> Array:
    """``out = a b`` for a batch ``a`` of rows, some columns at a time."""
    pieces = _pieces(b.shape[1], a.size) if stays_on_one_core(len(a), largest) else ()
    if not pieces:
        return np.dot(a, b, out)
    for piece in pieces:
        np.matmul(a, b[:, piece], out=out[:, piece])
    return out


def by_rows(a: Array, b: Array, out: Array, largest: int) -> Array:
    """``out = a b`` for a batch ``b`` of rows, some rows at a time."""
    pieces = _pieces(a.shape[0], b.size) if stays_on_one_core(len(b), largest) else ()
    if not pieces:
        return np.dot(a, b, out)
    for piece in pieces:
        np.dot(a[piece], b, out[piece])
    return out


def sum_of_squares(w: Array) -> float:
    """``sum w_ij^2``, a row at a time: OpenBLAS wakes its other threads for a dot product of more than 10,000 numbers.

    That saves some microseconds on a quiet machine, costs milliseconds on a busy one, and gives other last digits.
    """
    return float(np.add.reduce(np.vecdot(w, w)))
