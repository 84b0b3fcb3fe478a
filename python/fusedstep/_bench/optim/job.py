"""A job (a case with its arrays), and the base class of the implementations."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import fusedstep as fs

from ..common import Array, random_array
from .cases import Case, count_state


@dataclass
class Job:
    """A case with its arrays, and the number of threads."""

    case: Case
    threads: int
    seed: int = 0

    def with_threads(self, threads: int | None) -> Job:
        """Return the same job with another number of threads."""
        job = copy(self)
        job.threads = self.threads if threads is None else threads
        return job

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.case.options)

    @property
    def cls(self) -> Any:
        """The class of our optimizer."""
        return fs.optim.registry[self.case.rule]

    @cached_property
    def states(self) -> int:
        """Return the number of state arrays of a parameter."""
        return count_state(self.cls, self.case.options)

    def params(self) -> list[Array]:
        return [random_array(shape, (self.seed, 0, i)) for i, shape in enumerate(self.case.shapes)]

    @cached_property
    def gradients(self) -> list[Array]:
        """The gradients. All runners copy from these arrays, and no runner writes them."""
        return [random_array(shape, (self.seed, 1, i)) for i, shape in enumerate(self.case.shapes)]


class NumPyRunner:
    """Base class: parameters, gradients and moving averages in NumPy arrays. A subclass defines the step."""

    in_place = True  # False if the step cannot set the gradients to zero

    def __init__(self, job: Job) -> None:
        self.job, self.full, self.t = job, job.case.full, 0
        self.p, self.g = job.params(), [g.copy() for g in job.gradients]
        self.e = [p.copy() for p in self.p] if self.full else []
        self.refill: Callable[[], None] | None = self.load if self.full else None
        self.step: Callable[[], object] = self.prepare(job)

    def prepare(self, job: Job) -> Callable[[], object]:
        raise NotImplementedError

    def enter(self) -> None:
        """Set the number of threads before steps of this runner are timed. This call is not timed."""

    def load(self, scale: float = 1.0) -> None:
        """Copy the gradients, multiplied by `scale`, into the runner's arrays."""
        for source, g in zip(self.job.gradients, self.g, strict=True):
            np.multiply(source, np.float32(scale), out=g)

    def params(self) -> list[Array]:
        return self.p

    def averages(self) -> list[Array]:
        return self.e

    def grads(self) -> list[Array]:
        return self.g
