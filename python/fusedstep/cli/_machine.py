"""Facts about the machine and the libraries of this process."""

from __future__ import annotations

import importlib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import fusedstep

from .. import _core
from .._base import threads as _threads
from .._base.machine import available, cpu_model, text_of

VARIABLES = ("FUSEDSTEP_", "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "MKL_", "BLIS_", "LOCAL_WORLD_SIZE")
LIBRARY = re.compile(r"/(?P<name>lib(?P<stem>gomp|iomp5|omp|scipy_openblas|openblas|mkl_rt|blis)[^/]*\.so[^/]*)$")
OPENMP = ("gomp", "iomp5", "omp")


@dataclass(frozen=True)
class Library:
    """An OpenMP or BLAS library that this process has loaded. `threads` is None if threadpoolctl is missing."""

    name: str
    is_openmp: bool
    threads: int | None
    path: str


@dataclass(frozen=True)
class Machine:
    """The machine: CPU, threads, instruction sets and libraries."""

    cpu: str
    cpus: int
    affinity: int  # number of CPUs on which this process may run
    quota: float | None  # number of CPUs that the container may use, None if it has no quota
    threads: int  # number of threads of a step
    backend: str
    isa: str
    isas: tuple[str, ...]  # instruction sets of the CPU, the best first
    environment: Mapping[str, str] = field(default_factory=dict)
    libraries: tuple[Library, ...] = ()
    load: float | None = None  # mean number of running or waiting processes in the last minute
    huge_pages: str = ""
    has_threadpoolctl: bool = True
    memory: int | None = None  # bytes that this process may still allocate

    @property
    def granted(self) -> int:
        """Number of CPUs that the affinity and the quota allow."""
        return max(1, self.affinity if self.quota is None else min(self.affinity, math.ceil(self.quota)))


def look() -> Machine:
    """Return the facts about this process and its machine."""
    quotas = list(_threads.quotas())
    return Machine(
        cpu=cpu_model(),
        cpus=os.cpu_count() or 1,
        affinity=_threads.affinity(),
        quota=min(quotas) if quotas else None,
        threads=fusedstep.num_threads(),
        backend=_core.backend(),
        isa=fusedstep.isa(),
        isas=tuple(_core.available_isas()),
        environment={k: v for k, v in sorted(os.environ.items()) if k.startswith(VARIABLES)},
        libraries=libraries(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        huge_pages=huge_pages(),
        has_threadpoolctl=find_spec("threadpoolctl") is not None,
        memory=available(),
    )


def huge_pages() -> str:
    """Return the setting of transparent huge pages: "always", "madvise", "never", or "" if it is unknown."""
    chosen = re.search(r"\[(\w+)\]", text_of("/sys/kernel/mm/transparent_hugepage/enabled"))
    return chosen[1] if chosen else ""


def libraries() -> tuple[Library, ...]:
    """Return every loaded OpenMP and BLAS library. If threadpoolctl is missing, the numbers of threads are None."""
    if find_spec("threadpoolctl") is not None:
        found = importlib.import_module("threadpoolctl").threadpool_info()
        return tuple(
            Library(Path(lib["filepath"]).name, lib["user_api"] == "openmp", lib["num_threads"], lib["filepath"])
            for lib in found
        )
    paths = sorted({line.split()[-1] for line in text_of("/proc/self/maps").splitlines() if line.strip()})
    named = ((path, LIBRARY.search(path)) for path in paths)
    return tuple(Library(m["name"], m["stem"] in OPENMP, None, path) for path, m in named if m)
