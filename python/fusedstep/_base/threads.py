"""The number of threads that this process may use, computed from its CPU affinity, CPU quotas and environment."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator


def granted() -> int:
    """Return the number of CPUs that this process may use: the least of its affinity and its quotas, rounded up."""
    return max(1, min([affinity(), *(math.ceil(q) for q in quotas())]))


def machine_limit() -> int:
    """Return the number of threads that the CPU affinity, the CPU quotas and OMP_NUM_THREADS allow."""
    limits = [granted()]
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if openmp.isascii() and openmp.isdecimal() and int(openmp) > 0:
        limits.append(int(openmp))
    return max(1, min(limits))


def local_ranks() -> int:
    """Return how many processes torchrun has started on this machine. Without torchrun, return 1."""
    text = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(text)) if text.isdecimal() else 1


def idle_under_torchrun(threads: int) -> str:
    """Return advice if the processes of torchrun leave CPUs idle because of OMP_NUM_THREADS, else an empty text.

    Parameters
    ----------
    threads : int
        The number of threads of a step.
    """
    ranks = local_ranks()
    suits = granted() // ranks
    if ranks < 2 or threads >= suits or os.environ.get("OMP_NUM_THREADS") != str(threads):
        return ""
    return (
        f"torchrun has started {ranks} processes with OMP_NUM_THREADS={threads} each, and {ranks * (suits - threads)} "
        f"of {granted()} CPUs stay idle; to use all CPUs: OMP_NUM_THREADS={suits} torchrun --nproc-per-node {ranks} ..."
    )


def affinity() -> int:
    """Return the number of CPUs that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def quotas(root: str = "/sys/fs/cgroup", cgroups: str = "/proc/self/cgroup") -> Iterator[float]:
    """Yield the quotas, in CPUs, of the control groups (version 1 and 2) that contain this process and have a quota."""
    for group in control_groups("cpu", root, cgroups):
        quota = _quota(group)
        if quota:
            yield quota


def control_groups(controller: str, root: str = "/sys/fs/cgroup", cgroups: str = "/proc/self/cgroup") -> Iterator[str]:
    """Yield the folder of every control group (version 1 and 2) that contains this process. A folder may not exist."""
    for line in _read(cgroups).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # Inside a container, `path` may be the path on the host, which does not exist in the container. The container's
        # own control group is then the top folder, which is yielded last.
        group = path.strip("/")
        while True:
            yield os.path.join(root, controller if controllers else "", group)
            if not group:
                break
            group = os.path.dirname(group)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _quota(group: str) -> float | None:
    limit = _read(os.path.join(group, "cpu.max")).split()
    if len(limit) != 2:
        limit = [_read(os.path.join(group, f"cpu.cfs_{name}_us")) for name in ("quota", "period")]
    allowed, period = limit
    try:
        quota = int(allowed) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or an unknown form
        return None
    return quota if quota > 0 else None
