"""The instruction set and the number of threads of this process, and environment variables for both."""

from __future__ import annotations

import os
import re
import warnings

from .. import _core
from .threads import idle_under_torchrun, machine_limit


def isa() -> str:
    """Return the instruction set in use: "v2", "v3" or "v4" (levels of x86-64), or "generic" on other CPUs.

    Examples
    --------
    >>> import fusedstep as fs
    >>> fs.isa() in ("v2", "v3", "v4", "generic")
    True
    """
    return _core.isa()


def set_isa(name: str) -> None:
    """Choose the instruction set for all later calls.

    The results of steps, dropout and batch normalisation have the same bits with every instruction set.

    Parameters
    ----------
    name : str
        "v2", "v3" or "v4" (levels of x86-64), or "generic" on other CPUs. If the environment variable
        ``FUSEDSTEP_ISA`` has one of these values, the import of the package chooses this instruction set.

    Raises
    ------
    ValueError
        If the name is unknown, or the CPU does not support the instruction set.
    """
    _core.set_isa(name)


def num_threads() -> int:
    """Return the number of threads that the step of a large model would use now.

    The number is the least of four limits: the limit of `set_num_threads`, OpenMP's limit, the number of CPUs in the
    affinity of the process, and the CPU quota of the container in which the process runs.
    ``torch.set_num_threads`` and threadpoolctl change OpenMP's limit. In a forked child process, the number is 1.
    """
    return _core.num_threads()


_warned = False


def warn_of_idle_cores() -> None:
    """Warn if the processes of torchrun leave CPUs idle because of OMP_NUM_THREADS. Warn only once in a process."""
    global _warned
    if not _warned and (text := idle_under_torchrun(num_threads())):
        _warned = True
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def set_num_threads(n: int | None) -> None:
    """Limit the number of threads for all later calls.

    The results of steps, dropout and batch normalisation have the same bits with any number of threads.

    Parameters
    ----------
    n : int or None
        The largest number of threads, from 1 to 65536. None removes this limit. The other limits, which
        `num_threads` lists, always hold. When the package is imported, the environment variable
        ``FUSEDSTEP_NUM_THREADS`` sets the limit of `set_num_threads`.

    Raises
    ------
    TypeError, ValueError
        If n is neither a whole number from 1 to 65536 nor None.
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
    if not re.fullmatch(r"\s*[+-]?[0-9]+\s*", text, re.ASCII):  # `int` also accepts other digits and "1_0"
        raise ValueError("must be a whole number")
    return int(text)


def configure() -> None:
    """Read the machine's limits and the environment variables. The import of the package calls this function once."""
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
