"""Check whether a machine is quiet: whether its cores are equally fast, and whether other processes use the CPUs.

A run measures the speed of the cores at its start and its end. During each case, the run measures the CPU time of other
processes. The file of results says whether the machine was disturbed. Results of a disturbed machine are not published.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from .._base.machine import text_of

FAR = 1.15  # largest (time of the slowest core) / (time of the fastest core); on a quiet machine, a few percent above 1
BUSY = 0.25  # largest number of CPUs that other processes may use on average, so that threads rarely wait for a core
STOLEN = 0.05  # largest number of CPUs that a hypervisor may give to other virtual machines
MANY = 0.05  # largest fraction of the measured time that may belong to disturbed cases
MOST_CORES = 8  # largest number of cores that are measured
ROUNDS = 15
ATTEMPTS = 5  # if the times of the cores differ too much, the cores are measured again, at most this many times
PROBE = 20_000  # elements of each of the two arrays with which cores are measured; the arrays fit into the L2 cache


@dataclass(frozen=True)
class Load:
    """The mean number of CPUs that other processes and the hypervisor used during a case."""

    seconds: float
    others: float  # used by other processes
    stolen: float  # taken by the hypervisor

    @property
    def is_disturbed(self) -> bool:
        return self.others > BUSY or self.stolen > STOLEN


class Watch:
    """Measures the load of other processes since the creation of this object.

    `load` returns None if the system does not report the necessary numbers.
    """

    def __init__(self) -> None:
        self.ticks, self.own, self.start = ticks(), own_seconds(), time.perf_counter()

    def load(self) -> Load | None:
        now = ticks()
        if now is None or self.ticks is None:
            return None
        seconds = max(time.perf_counter() - self.start, 1e-9)
        used, stolen = ((b - a) / os.sysconf("SC_CLK_TCK") for a, b in zip(self.ticks, now, strict=True))
        others = used - (own_seconds() - self.own)
        return Load(seconds, max(0.0, others / seconds), stolen / seconds)


def ticks() -> tuple[int, int] | None:
    """Return the time that all processes used, and the time that a hypervisor took, in clock ticks.

    Both times are sums over the CPUs on which this process may run. Return None if the system does not report them.
    """
    usable = {f"cpu{n}" for n in usable_cores()}
    rows = [line.split() for line in text_of("/proc/stat").splitlines()]
    found = [list(map(int, row[1:9])) for row in rows if row and row[0] in usable and len(row) > 8]
    if not found:
        return None
    user, nice, system, _idle, _wait, hard, soft, stolen = (sum(column) for column in zip(*found, strict=True))
    return user + nice + system + hard + soft, stolen


def own_seconds() -> float:
    """Return the CPU time of this process and of all processes that it has started, such as compilers."""
    used: dict[int, tuple[int, int]] = {}  # process -> its parent, and its ticks with those of its ended children
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        fields = text_of(f"/proc/{name}/stat").rpartition(")")[2].split() if name.isdecimal() else []
        if len(fields) > 14:
            used[int(name)] = int(fields[1]), sum(map(int, fields[11:15]))
    family, found = set[int](), {os.getpid()}
    while found:
        family |= found
        found = {process for process, (parent, _) in used.items() if parent in family} - family
    if not used:
        return sum(os.times()[:4])
    return sum(used[process][1] for process in family if process in used) / os.sysconf("SC_CLK_TCK")


def usable_cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def core_times() -> dict[int, float]:
    """Return the time of the same work on each core.

    If the times differ too much, all cores are measured again, because another process may have used a core. There are
    at most ATTEMPTS measurements. The measurement in which the times of the cores differ least is returned.
    """
    found: list[dict[int, float]] = []
    while len(found) < ATTEMPTS and (not found or distance(found[-1]) > FAR):
        found.append(times_of_cores())
    return min(found, key=distance)


def times_of_cores() -> dict[int, float]:
    """Return the median time of the same work on each core. At most MOST_CORES cores are measured, in turn."""
    usable = usable_cores()
    cores = usable[:: max(1, len(usable) // MOST_CORES)][:MOST_CORES]
    a, out = np.full(PROBE, 1.5, np.float32), np.empty(PROBE, np.float32)
    times: dict[int, list[float]] = {core: [] for core in cores}
    try:
        for core in cores * ROUNDS:
            os.sched_setaffinity(0, {core})
            times[core].append(seconds_of(lambda: np.sqrt(a, out=out)))
    finally:
        if usable:
            os.sched_setaffinity(0, usable)
    return {core: median(samples) for core, samples in times.items()}


def seconds_of(work: Callable[[], object], repeats: int = 20) -> float:
    """Do some work once without timing, then time `repeats` repetitions. Return the time of all these repetitions."""
    work()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return time.perf_counter() - start


def distance(times: Mapping[int, float]) -> float:
    """Return the time of the slowest core / the time of the fastest core."""
    return max(times.values()) / min(times.values()) if times else 1.0


def summary(cores: Sequence[Mapping[int, float]], loads: Mapping[str, Load]) -> dict[str, Any]:
    """Return the state of the machine for a file of results. The entry `disturbed` is a list of reasons in words."""
    total = sum(load.seconds for load in loads.values())
    bad = {name: load for name, load in loads.items() if load.is_disturbed}
    mean = {
        key: sum(getattr(load, key) * load.seconds for load in loads.values()) / max(total, 1e-9)
        for key in ("others", "stolen")
    }
    far = max((distance(times) for times in cores), default=1.0)
    reasons = [f"the slowest core took {far:.2f} times as long as the fastest"] if far > FAR else []
    if sum(load.seconds for load in bad.values()) > MANY * total:
        worst = max(bad, key=lambda name: bad[name].others + bad[name].stolen)
        taken = bad[worst].others + bad[worst].stolen
        reasons.append(
            f"other processes took {mean['others'] + mean['stolen']:.2f} CPUs on average, and {taken:.2f} in {worst}; "
            f"{len(bad)} of {len(loads)} measurements were disturbed"
        )
    return {"distance": far, **mean, "disturbed": reasons}


def as_dict(load: Load | None) -> dict[str, Any] | None:
    return None if load is None else asdict(load) | {"disturbed": load.is_disturbed}
