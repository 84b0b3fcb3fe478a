"""The yardsticks of layers: copies into given memory that read and write as many bytes as the layer."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ..common import Array, random_array
from .runner import Call, Job, Runner


class Copy(Runner):
    """A copy by np.copyto, by np.copyto in several threads, or by torch's copy_.

    The times of the layers are compared with the time of the fastest of these three copies.

    A copy reads one array and writes one array. If a layer uses three arrays of the size of its input, the copied array
    has 1.5 times this size. The copy then moves as many bytes as the layer.
    """

    def __init__(self, job: Job, make: Callable[[Array, Array, int], Call]) -> None:
        self.job, self.out, self.last = job, True, None
        self.bytes_per_element = job.case.bytes_per_element
        elements = job.case.elements * job.case.bytes_per_element // 8
        self.source = random_array((elements,), (job.seed, 4))
        self.buffers = [np.full(elements, np.nan, np.float32)]
        self.call = make(self.source, self.buffers[0], job.threads)

    def outputs(self) -> Mapping[str, Array]:
        return {"copy": self.buffers[0], "source": self.source}


def numpy_copy(source: Array, target: Array, threads: int) -> Call:
    return lambda: np.copyto(target, source)


def torch_copy(source: Array, target: Array, threads: int) -> Call:
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(threads)
    here, there = torch.from_numpy(source), torch.from_numpy(target)
    return lambda: there.copy_(here)


def parallel_copy(source: Array, target: Array, threads: int) -> Call:
    """Return a function that copies in several threads. The calling thread copies the first part.

    np.copyto releases the GIL, so that the threads copy at the same time.
    """
    pool = ThreadPoolExecutor(max(threads - 1, 1))
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))

    def call() -> None:
        rest = [pool.submit(np.copyto, a, b) for a, b in parts[1:]]
        np.copyto(*parts[0])
        for part in rest:
            part.result()

    return call
