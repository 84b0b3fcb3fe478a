"""A case with its numbers, and the base class of its implementations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..common import Array, Unavailable, random_array
from .cases import Case

Call = Callable[[], object]


@dataclass
class Job:
    """A case with its numbers: made once, read by all, never written."""

    case: Case
    threads: int
    seed: int = 0

    @property
    def channels(self) -> int:
        return self.case.shape[self.case.axis]

    @cached_property
    def x(self) -> Array:
        x = random_array(self.case.shape, (self.seed, 0))
        if self.case.op.startswith("bn"):
            x += np.float32(0.5)
        return x

    @cached_property
    def dy(self) -> Array:
        return random_array(self.case.shape, (self.seed, 1))

    @cached_property
    def residual(self) -> Array:
        return random_array(self.case.shape, (self.seed, 2))

    def vectors(self) -> dict[str, Array]:
        """Scale, shift and running statistics, new each time: some are written."""
        draw = np.random.default_rng((self.seed, 3)).standard_normal((4, self.channels), dtype=np.float32)
        gamma, beta, mean, var = draw
        return {
            "gamma": 1 + np.float32(0.1) * gamma,
            "beta": np.float32(0.1) * beta,
            "running_mean": np.float32(0.1) * mean,
            "running_var": 1 + np.float32(0.1) * np.abs(var),
        }

    @cached_property
    def per_channel(self) -> int:
        return self.case.elements // self.channels

    def along(self, v: Any) -> Any:
        """Bring one value per channel into a shape that broadcasts."""
        shape = [1] * len(self.case.shape)
        shape[self.case.axis] = self.channels
        return v.reshape(shape)

    @cached_property
    def others(self) -> tuple[int, ...]:
        """All axes but that of the channels."""
        axes = len(self.case.shape)
        return tuple(a for a in range(axes) if a != self.case.axis % axes)


class Runner:
    """One implementation of one case.

    A subclass has a method per layer (`dropout`, `bn` ...) that returns the call to be timed. What that call returns
    is kept as `last`, as a training loop would keep it.
    """

    refill = None
    forward: Callable[[], Any]  # of a gradient of dropout: the output, whose zeros say what was dropped

    def __init__(self, job: Job, out: bool = False) -> None:
        """Prepare the call; with `out`, one that writes into memory allocated beforehand."""
        self.job, self.out, self.last = job, out, None
        self.buffers: list[Array] = []  # that the call writes, as NumPy arrays
        self.bytes_per_element = job.case.bytes_per_element
        prepare = getattr(self, job.case.op, None)
        if prepare is None:
            raise Unavailable("no such layer")
        self.call: Call = prepare()

    def step(self) -> None:
        self.last = self.call()  # type: ignore[assignment]

    def poison(self) -> None:
        """Fill what will be written with nan."""
        self.last = None
        for buffer in self.buffers:
            buffer.fill(np.nan)

    def outputs(self) -> Mapping[str, Array]:
        """Name what the last step has written: y or dx, and what comes with it; float32, laid out as the case is."""
        raise NotImplementedError

    def buffer(self) -> Array:
        """Return memory like x, written once so that it is there."""
        self.buffers.append(np.full(self.job.case.shape, np.nan, np.float32))
        return self.buffers[-1]
