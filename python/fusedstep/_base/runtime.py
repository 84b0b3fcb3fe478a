"""Instruction set and threads: process-wide settings, and the environment variables that set them at import."""

from __future__ import annotations

import os
import re
import warnings

from .. import _core
from .threads import idle_under_torchrun, machine_limit


def isa() -> str:
    """Return the instruction set in use: "v2", "v3" or "v4" (levels of x86-64), or "generic".

    Examples
    --------
    >>> import fusedstep as fs
    >>> fs.isa() in ("v2", "v3", "v4", "generic")
    True
    """
    return _core.isa()


def set_isa(name: str) -> None:
    """Choose the instruction set for all following steps. Results do not change by a bit.

    Parameters
    ----------
    name : str
        "v2", "v3", "v4" or, on other architectures, "generic". The environment variable
        ``FUSEDSTEP_ISA`` sets it at the import.

    Raises
    ------
    ValueError
        If the name is unknown or the CPU lacks the level.
    """
    _core.set_isa(name)


def num_threads() -> int:
    """Return how many threads a large step would use now.

    It is the least of the number set by `set_num_threads`, OpenMP's limit (which ``torch.set_num_threads`` and
    threadpoolctl set), the process's CPU affinity and its container's quota; 1 in a forked child.
    """
    return _core.num_threads()


_warned = False


def warn_of_idle_cores() -> None:
    """Warn, once in a process, where torchrun's OMP_NUM_THREADS=1 makes steps slow."""
    global _warned
    if not _warned and (text := idle_under_torchrun(num_threads())):
        _warned = True
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def set_num_threads(n: int | None) -> None:
    """Limit the threads of all following steps. Results do not change by a bit.

    Parameters
    ----------
    n : int or None
        At most this many threads, from 1 to 65536. A number above the number of usable CPUs has no effect. None
        removes the limit. The environment variable ``FUSEDSTEP_NUM_THREADS`` sets the limit at the import.

    Raises
    ------
    TypeError, ValueError
        If n is not a whole number from 1 to 65536.
    """
    if n is None:
        _core.set_num_threads(0)
        return
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"set_num_threads: n must be a whole number or None; got {n!r}")
    if not 1 <= int(n) <= 65536:
        raise ValueError(f"set_num_threads: n must be from 1 to 65536; got {n!r}")
    _core.set_num_threads(int(n))


def _whole_number(text: str) -> int:
    if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", text, re.ASCII):  # `int` accepts the digits of every script, and "1_0"
        raise ValueError("must be a whole number")
    return int(text)


def configure() -> None:
    """Read the machine's limits and the environment variables. Called once, at import."""
    _core.set_machine_limit(machine_limit())
    name = "FUSEDSTEP_ISA"
    try:
        if wish := os.environ.get(name):
            set_isa(wish)
        name = "FUSEDSTEP_BACKEND"
        if wish := os.environ.get(name):
            _core.set_backend(wish)
        name = "FUSEDSTEP_NUM_THREADS"
        if wish := os.environ.get(name):
            set_num_threads(_whole_number(wish))
    except ValueError as error:
        raise ImportError(f"environment variable {name}={wish!r}: {error}") from None
