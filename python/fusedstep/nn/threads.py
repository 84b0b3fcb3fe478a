"""Limit NumPy's BLAS to one thread during a training with small matrix products.

The threads of OpenBLAS wait for each other at the end of every product. If other processes use the CPU cores, even a
small product then takes tens of milliseconds.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

from .. import _core
from . import _blas
from ._layer import Layer
from ._stack import every

__all__ = ["largest_weight", "one_blas_thread"]

SMALL = 1 << 26  # multiplications in one product; in float32, they take 3 ms on one thread with AVX2


@contextlib.contextmanager
def one_blas_thread(rows: int, largest: int) -> Iterator[None]:
    """Limit BLAS to one thread inside a ``with`` block if the matrix products are small.

    If the largest product has more than 2**26 multiplications, the block changes nothing, and BLAS uses all its
    threads. The limit is a setting of the whole process. So use the block around a complete fit or command, never
    around a single product. If the blocks of several threads overlap, the end of the last block restores the old
    setting.

    Parameters
    ----------
    rows : int
        Number of rows of the largest batch.
    largest : int
        Number of elements of the largest weight matrix.

    Notes
    -----
    The limit needs threadpoolctl, which is installed with scikit-learn. Without threadpoolctl, the block changes
    nothing. The block also changes nothing if this package computes the products on several threads of its own,
    without BLAS.

    Examples
    --------
    >>> with one_blas_thread(rows=32, largest=64 * 64):
    ...     pass
    """
    if not _is_worth_it(rows, largest) or find_spec("threadpoolctl") is None:
        yield
        return
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()


def largest_weight(layers: tuple[Layer, ...]) -> int:
    """Return the number of elements of the largest weight matrix in these layers."""
    shapes = [shape for layer in every(layers) for shape in layer.param_shapes().values() if len(shape) > 1]
    return max((int(np.prod(shape)) for shape in shapes), default=0)


def _is_worth_it(rows: int, largest: int) -> bool:
    if rows * largest > SMALL:
        return False
    return _blas.stays_on_one_core(rows, largest) or not _shares_products()


@functools.cache
def _shares_products() -> bool:
    """Return True if products on several threads use this package's threads, not the threads of BLAS."""
    a, out = np.ones((2, 2), np.float32), np.empty((2, 2), np.float32)
    return _blas.FOUND and _core.product(a, a, out, False, 0)


class _Limit:
    """The limit of BLAS threads in this process, and the number of ``with`` blocks that need this limit."""

    def __init__(self) -> None:
        self._lock, self._count = threading.Lock(), 0
        self._limiter: Any = None

    def enter(self) -> None:
        libraries = _blas_libraries()
        with self._lock:
            if self._count == 0:
                limiter = libraries.limit(limits=1)
                # If another thread has set its own limit with threadpoolctl, that limit stays, and `leave` restores
                # nothing.
                self._limiter = limiter if all(lib["num_threads"] == 1 for lib in libraries.info()) else None
            self._count += 1

    def leave(self) -> None:
        with self._lock:
            self._count -= 1
            if self._count == 0 and self._limiter is not None:
                limiter, self._limiter = self._limiter, None
                release(_blas_libraries())  # another thread may have set the limit
                limiter.restore_original_limits()
                release(_blas_libraries())

    def forget_the_lock(self) -> None:
        """Replace the lock in a forked child process. A thread that held it at the fork does not exist there."""
        self._lock = threading.Lock()


@functools.cache  # The search takes milliseconds. One search is enough, because NumPy's BLAS is already loaded
def _blas_libraries() -> Any:
    return importlib.import_module("threadpoolctl").ThreadpoolController().select(user_api="blas")


def release(libraries: Any) -> None:
    """Let any thread set limits. Without this, threadpoolctl allows it only to the thread that set the first limit."""
    for library in libraries.lib_controllers:
        clear = getattr(library, "clear_controlling_thread", None)  # threadpoolctl has it since 3.7
        if clear is not None:
            clear(force=True)


_limit = _Limit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_limit.forget_the_lock)
