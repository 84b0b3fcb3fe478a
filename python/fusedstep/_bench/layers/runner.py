"""A job (a case with its arrays), and the base class of the implementations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..._base.formats import bfloat16
from ..common import Array, Unavailable, random_array
from .cases import Case

Call = Callable[[], object]


@dataclass
class Job:
    """A case with its arrays. All implementations read the same arrays, and no implementation writes them."""

    case: Case
    threads: int
    seed: int = 0

    @property
    def channels(self) -> int:
        return self.case.shape[self.case.axis]

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Return the dtype of inputs and outputs. For bfloat16, this is the dtype of the package ml_dtypes."""
        return bfloat16() if self.case.dtype == "bfloat16" else np.dtype(self.case.dtype)

    def draw(self, which: int) -> Array:
        return random_array(self.case.shape, (self.seed, which)).astype(self.dtype, copy=False)

    @cached_property
    def x(self) -> Array:
        x = self.draw(0)
        if self.case.op.startswith("bn"):
            x += self.dtype.type(0.5)
        return x

    @cached_property
    def dy(self) -> Array:
        return self.draw(1)

    @cached_property
    def residual(self) -> Array:
        return self.draw(2)

    def vectors(self) -> dict[str, Array]:
        """Return scale, shift and running statistics. Each call returns new arrays, because layers change some."""
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
        """Return an array with one value per channel in a shape that broadcasts with x."""
        shape = [1] * len(self.case.shape)
        shape[self.case.axis] = self.channels
        return v.reshape(shape)

    @cached_property
    def others(self) -> tuple[int, ...]:
        """Return all axes except the axis of the channels."""
        axes = len(self.case.shape)
        return tuple(a for a in range(axes) if a != self.case.axis % axes)


class Runner:
    """One implementation of one case.

    A subclass has a method for each layer (`dropout`, `bn`, ...). The method returns a function. The timed
    method `step` calls this function and stores the result in the attribute `last`. So the result is kept until the
    next call has returned, as in a training loop.
    """

    refill = None
    forward: Callable[[], Any]  # for the gradient of dropout: returns the output, which is 0 where elements are dropped

    def __init__(self, job: Job, out: bool = False) -> None:
        """Prepare the call. If `out` is True, the call writes its result into memory that is allocated here."""
        self.job, self.out, self.last = job, out, None
        self.buffers: list[Array] = []  # NumPy arrays with the memory that the call writes
        self.bytes_per_element = job.case.bytes_per_element
        prepare = getattr(self, job.case.op, None)
        if prepare is None:
            raise Unavailable("no such layer")
        self.call: Call = prepare()

    def step(self) -> None:
        self.last = self.call()  # type: ignore[assignment]

    def poison(self) -> None:
        """Forget the last result, and fill the buffers with nan, so that `outputs` cannot return an old result."""
        self.last = None
        for buffer in self.buffers:
            buffer.fill(np.nan)

    def outputs(self) -> Mapping[str, Array]:
        """Return the results of the last step: a dict from names (`y`, `dx`, ...) to arrays in the case's layout."""
        raise NotImplementedError

    def buffer(self) -> Array:
        """Return an array with the shape of x. The array is filled with nan, so that the system provides its memory."""
        self.buffers.append(np.full(self.job.case.shape, np.nan, self.job.dtype))
        return self.buffers[-1]
