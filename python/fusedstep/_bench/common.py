"""Common code of the benchmarks: random numbers, the choice of cases, and reasons why a library has no result."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from importlib.util import find_spec
from math import prod
from typing import Protocol, TypeVar

import numpy as np

Array = np.ndarray
BLOCK = (1 << 20) + 7  # large arrays repeat a block of this many random numbers, because drawing more takes long
ABSENT = "not installed: "  # start of a status; the rest of the status is the names of the missing modules


class Unavailable(Exception):
    """An implementation cannot run a case. The message is the reason."""


class Unmatched(ValueError):
    """No case matches the requested name."""


class AnyCase(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def quick(self) -> bool: ...


C = TypeVar("C", bound=AnyCase)


def select(cases: Iterable[C], pattern: str | None, quick: bool) -> list[C]:
    """Return the cases whose names contain or match the pattern.

    Without a pattern, return all cases, or only the quick cases if `quick` is True.
    """
    every = list(cases)
    if pattern is None:
        return [case for case in every if case.quick or not quick]
    picked = [case for case in every if fnmatch(case.name.lower(), f"*{pattern.lower()}*")]
    if not picked:
        raise Unmatched(f"--only must match a case, such as {every[0].name}; got {pattern!r}")
    return picked


def missing(modules: Iterable[str]) -> list[str]:
    return [module for module in modules if find_spec(module) is None]


def why(problem: Exception) -> str:
    """Return in one line why an implementation has no result: the reason in an `Unavailable`, or the other error."""
    if isinstance(problem, Unavailable):
        return f"not available: {problem}"
    return f"failed: {type(problem).__name__}: {next(iter(str(problem).strip().splitlines()), '')}"


def random_array(shape: tuple[int, ...], seed: tuple[int, ...]) -> Array:
    """Return an array of standard normal float32 numbers."""
    block = np.random.default_rng(seed).standard_normal(min(prod(shape), BLOCK), dtype=np.float32)
    out = np.empty(prod(shape), np.float32)
    for start in range(0, out.size, BLOCK):
        part = out[start : start + BLOCK]
        part[:] = block[: part.size]
    return out.reshape(shape)
