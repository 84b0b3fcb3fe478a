"""How many threads this process may use: the least of its affinity, its container's CPU quota and its environment."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def machine_limit() -> int:
    """Return the number of threads that the machine grants: affinity and cgroup quota, rounded up."""
    limits = [affinity(), *(math.ceil(q) for q in quotas())]
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if openmp.isdecimal() and int(openmp) > 0:
        limits.append(int(openmp))
    return max(1, min(limits))


def affinity() -> int:
    """Return the number of CPUs that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def quotas(root: Path = Path("/sys/fs/cgroup"), cgroups: Path = Path("/proc/self/cgroup")) -> Iterator[float]:
    """Yield the CPU quota, in CPUs, of every control group (version 1 and 2) around this process."""
    try:
        lines = cgroups.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        base = root if not controllers else root / "cpu"
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder = base / path.lstrip("/")
        # Inside a container the path may be the host's: the mounted root is the group itself.
        for group in {base, folder, *(f for f in folder.parents if f.is_relative_to(base))}:
            quota = _quota(group)
            if quota:
                yield quota


def _quota(group: Path) -> float | None:
    try:
        allowed, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            allowed = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        quota = int(allowed) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or what no kernel writes
        return None
    return quota if quota > 0 else None
