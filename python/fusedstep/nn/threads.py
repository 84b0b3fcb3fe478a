"""Limits NumPy's BLAS to one thread during a training with small products.

OpenBLAS's threads wait for each other at the end of every product. If other processes use the cores, each product then
takes tens of milliseconds, even a small one.
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

SMALL = 1 << 26  # multiplications of a product: 3 ms on one thread of a machine with AVX2, in float32


@contextlib.contextmanager
def one_blas_thread(rows: int, largest: int) -> Iterator[None]:
    """Limit BLAS to one thread inside the block if products are small. Large products use all threads.

    This is a setting of the process. Use it around a fit or a command, never around a single call. When the last block
    ends, the setting from before the first block is restored.

    Parameters
    ----------
    rows : int
        Number of rows of the largest batch.
    largest : int
        Number of elements of the largest weight.

    Notes
    -----
    The block needs threadpoolctl, which is installed with scikit-learn; without it the block does nothing. It also does
    nothing if this package's own threads share the products, because these threads do not wait for each other.

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
    """Return the number of elements of the largest matrix among some layers' weights."""
    shapes = [shape for layer in every(layers) for shape in layer.param_shapes().values() if len(shape) > 1]
    return max((int(np.prod(shape)) for shape in shapes), default=0)


def _is_worth_it(rows: int, largest: int) -> bool:
    if rows * largest > SMALL:
        return False
    return _blas.stays_on_one_core(rows, largest) or not _shares_products()


@functools.cache
def _shares_products() -> bool:
    """Return True if products on several threads use our threads, not those of BLAS."""
    a, out = np.ones((2, 2), np.float32), np.empty((2, 2), np.float32)
    return _blas.FOUND and _core.product(a, a, out, False, 0)


class _Limit:
    """The setting of the process, with a count of the blocks that need it."""

    def __init__(self) -> None:
        self._lock, self._count = threading.Lock(), 0
        self._limiter: Any = None

    def enter(self) -> None:
        libraries = _blas_libraries()
        with self._lock:
            if self._count == 0:
                limiter = libraries.limit(limits=1)
                # if another thread has set its own limit by threadpoolctl, that limit stays, and nothing was done
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
        """Replace the lock in a forked child, where no other thread will release it."""
        self._lock = threading.Lock()


@functools.cache  # a search for libraries takes milliseconds; NumPy's is always loaded
def _blas_libraries() -> Any:
    return importlib.import_module("threadpoolctl").ThreadpoolController().select(user_api="blas")


def release(libraries: Any) -> None:
    """Let any thread set limits. Otherwise threadpoolctl allows this only to the thread that set them first."""
    for library in libraries.lib_controllers:
        clear = getattr(library, "clear_controlling_thread", None)  # since 3.7
        if clear is not None:
            clear(force=True)


_limit = _Limit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_limit.forget_the_lock)
