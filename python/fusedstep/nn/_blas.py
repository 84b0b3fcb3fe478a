"""Matrix products on the threads of the compiled module `_core`."""

from __future__ import annotations

import os
import sys

import numpy as np

from .. import _core
from .._base.arrays import Array

# The file of NumPy's compiled core. `find_blas` looks for OpenBLAS in this file and in its dependencies.
_numpys_own = getattr(sys.modules.get("numpy._core._multiarray_umath"), "__file__", None)
FOUND = bool(_numpys_own and _core.find_blas(os.fsencode(_numpys_own)))  # True if OpenBLAS was found

# In a small network, a second CPU core saves some microseconds in the products. But the optimizer's step then takes
# some microseconds longer, because half of the gradient is in the cache of the other CPU core. So the products of a
# small network use one CPU core. A network is small if it is within these two limits:
MOST_ROWS = 64  # number of rows of a batch
LARGEST_WEIGHT = 32768  # number of elements of the network's largest weight


def stays_on_one_core(rows: int, largest: int) -> bool:
    """Return True if a network should use one CPU core only.

    ``rows`` is the batch size. ``largest`` is the number of elements of the network's largest weight matrix.
    """
    return rows <= MOST_ROWS and largest <= LARGEST_WEIGHT


def by_columns(a: Array, b: Array, out: Array, largest: int) -> Array:
    """Compute ``out = a b``. Each thread computes some columns of ``out``.

    ``largest`` is the number of elements of the network's largest weight. If ``stays_on_one_core(len(a), largest)`` is
    True, the compiled module uses one thread only.
    """
    if not _core.product(a, b, out, False, int(stays_on_one_core(len(a), largest))):
        np.dot(a, b, out)
    return out


def by_rows(a: Array, b: Array, out: Array, largest: int) -> Array:
    """Compute ``out = a b``, where each row of ``b`` belongs to one example. Each thread computes some rows of ``out``.

    ``largest`` is the number of elements of the network's largest weight matrix. If
    ``stays_on_one_core(len(b), largest)`` is True, the C++ code that computes ``out`` uses one thread only.
    """
    if not _core.product(a, b, out, True, int(stays_on_one_core(len(b), largest))):
        np.dot(a, b, out)
    return out
