"""Combinations of instruction set, threading backend and number of threads. `Machine` is one combination."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fusedstep import _core


def _backends() -> list[str]:
    usual, found = _core.backend(), ["threads"]
    try:
        _core.set_backend("openmp")
        found.append("openmp")
    except ValueError:
        pass  # libgomp is not installed
    _core.set_backend(usual)
    return found


BACKENDS = _backends()
Machine = tuple[str, str, int]  # instruction set, backend, threads
SERIAL: list[Machine] = [(isa, BACKENDS[-1], 1) for isa in _core.available_isas()]
MACHINES: list[Machine] = SERIAL + [
    (isa, backend, n) for isa in _core.available_isas() for backend in BACKENDS for n in (2, 4)
]


@contextmanager
def running(machine: Machine) -> Iterator[None]:
    """Use the given instruction set, backend and number of threads inside the context."""
    isa, backend, threads = machine
    _core.set_isa(isa)
    _core.set_backend(backend)
    _core.force_threads(threads)
    try:
        yield
    finally:
        _core.force_threads(0)


def machines(threads: tuple[int, ...] = (1, 2, 4)) -> Iterator[Machine]:
    """Use every combination of an instruction set, a backend and one of the given numbers of threads.

    Each combination is yielded, and is in use until the next one is requested.
    """
    for isa in _core.available_isas():
        for backend in BACKENDS:
            for n in threads:
                with running((isa, backend, n)):
                    yield isa, backend, n
