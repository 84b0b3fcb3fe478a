"""The memory of AdamW for a number of parameters: its bytes, whether this machine has them, the time of a step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from .._base import formats
from .._base.threads import control_groups

BLOCK_BYTES = 4 / formats.BLOCK  # per parameter: a scale, or a sum, of each block
COLUMNS = ["weights", "gradient", "states", "kept bits", "B/parameter", "GB", "fits", "step at best"]


@dataclass(frozen=True)
class Setting:
    """Bytes per parameter; ``states`` include their scales."""

    name: str
    weights: float
    gradient: float
    states: float
    kept: float = 0.0
    copies: float = 0.0  # bytes moved by copies around the step, in addition to a single pass

    @property
    def held(self) -> float:
        """Bytes of memory."""
        return self.weights + self.gradient + self.states + self.kept

    @property
    def moved(self) -> float:
        """Bytes that a step moves: the gradient is read, all else is read and written."""
        return 2 * self.held - self.gradient + self.copies


LOW_BITS = 2 + BLOCK_BYTES
# Without a fused step, the gradient is converted to float32 and read again (8 more bytes), and the master is read to
# write the weights, which are not read (2 more). A float32 gradient of one tensor at a time is not counted as memory.
SETTINGS = (
    Setting("float32", 4, 4, 8),
    Setting("bfloat16, float32 master and states by hand", 2, 2, 8, 4, copies=10),
    Setting("bfloat16, low bits, float32 states", 2, 2, 8, LOW_BITS),
    Setting("bfloat16, low bits, bfloat16 states", 2, 2, 4, LOW_BITS),
    Setting("bfloat16, low bits, uint8 states", 2, 2, 2 * (1 + BLOCK_BYTES), LOW_BITS),
)


def rows(parameters: int, memory: int | None, bandwidth: float) -> list[list[str]]:
    """Return a row per setting; `memory` in bytes, None where it is unknown, `bandwidth` in GB/s."""
    result = []
    for setting in SETTINGS:
        size = setting.held * parameters
        fits = "unknown" if memory is None else "yes" if size <= memory else "no"
        parts = (setting.weights, setting.gradient, setting.states, setting.kept, setting.held)
        seconds = setting.moved * parameters / 1e9 / bandwidth
        result.append(
            [setting.name, *(f"{part:.2f}" for part in parts), f"{size / 1e9:,.3g}", fits, f"{seconds:.3g} s"]
        )
    return result


def available(meminfo: str = "/proc/meminfo", groups: Iterator[str] | None = None) -> int | None:
    """Return the bytes that this process may still take: the least of the machine's and its container's."""
    found = [1024 * n for n in _numbers(meminfo, "MemAvailable:")]
    for group in control_groups("memory") if groups is None else groups:
        for limit, usage, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            sizes = [*_numbers(os.path.join(group, limit)), *_numbers(os.path.join(group, usage))]
            if len(sizes) == 2:  # else "max", or the other version
                unused = sum(_numbers(os.path.join(group, "memory.stat"), cache))  # caches that the kernel can free
                found.append(max(0, sizes[0] - sizes[1] + unused))
    return min(found, default=None)


def _numbers(path: str, name: str | None = None) -> list[int]:
    """Return the number in a file, or the number after a name; an empty list if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return []
    texts = [words[0] for words in lines if words] if name is None else [w[1] for w in lines if w and w[0] == name]
    return [int(text) for text in texts if text.isascii() and text.isdecimal()]
