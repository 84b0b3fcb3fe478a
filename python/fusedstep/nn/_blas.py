"""Products of matrices on the threads of the core."""

from __future__ import annotations

import os
import sys

import numpy as np

from .. import _core
from .._base.arrays import Array

_numpys_own = getattr(sys.modules.get("numpy._core._multiarray_umath"), "__file__", None)
FOUND = bool(_numpys_own and _core.find_blas(os.fsencode(_numpys_own)))  # OpenBLAS

# In a small network a second core saves some microseconds of the products. It costs as much in the optimizer's step,
# because half of the gradient is then in the other core's cache.
MOST_ROWS = 64  # rows of a batch
LARGEST_WEIGHT = 32768  # elements. Above one of the two limits more cores are used


def stays_on_one_core(rows: int, largest: int) -> bool:
    """Return True if a network with this batch size and largest weight should use one core only."""
    return rows <= MOST_ROWS and largest <= LARGEST_WEIGHT


def by_columns(a: Array, b: Array, out: Array, largest: int) -> Array:
    """Compute ``out = a b`` for a batch ``a`` of rows; each thread computes some of the columns."""
    if not _core.product(a, b, out, False, int(stays_on_one_core(len(a), largest))):
        np.dot(a, b, out)
    return out


def by_rows(a: Array, b: Array, out: Array, largest: int) -> Array:
    """Compute ``out = a b`` for a batch ``b`` of rows; each thread computes some rows of the result."""
    if not _core.product(a, b, out, True, int(stays_on_one_core(len(b), largest))):
        np.dot(a, b, out)
    return out
