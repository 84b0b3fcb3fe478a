"""Facts about the machine: the name of its CPU, and the memory that this process may still allocate."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator

from .threads import control_groups


def cpu_model() -> str:
    """Return the name of the CPU's model."""
    for line in text_of("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def available(meminfo: str = "/proc/meminfo", groups: Iterator[str] | None = None) -> int | None:
    """Return how many bytes this process may still allocate, or None if this is unknown.

    The result is the smallest of these numbers: the free bytes of the machine, and for each control group of this
    process, the free bytes below the memory limit of the group. Containers limit memory with control groups.
    """
    found = [1024 * n for n in _numbers(meminfo, "MemAvailable:")]
    for group in control_groups("memory") if groups is None else groups:
        for limit, usage, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            sizes = [*_numbers(os.path.join(group, limit)), *_numbers(os.path.join(group, usage))]
            if len(sizes) == 2:  # fewer numbers: the limit is "max", or the control group has the other version
                unused = sum(_numbers(os.path.join(group, "memory.stat"), cache))  # the system can free this memory
                found.append(max(0, sizes[0] - sizes[1] + unused))
    return min(found, default=None)


def _numbers(path: str, name: str | None = None) -> list[int]:
    """Return the numbers at the start of a file's lines. With a name, return the numbers of the lines "name number"."""
    lines = [line.split() for line in text_of(path).splitlines()]
    texts = [words[0] for words in lines if words] if name is None else [w[1] for w in lines if w and w[0] == name]
    return [int(text) for text in texts if text.isascii() and text.isdecimal()]


def text_of(path: str) -> str:
    """Return the text of a file, or an empty text if the file cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
