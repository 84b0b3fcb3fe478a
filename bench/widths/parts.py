"""Where the time of a narrow step goes: one thread, arrays in the second-level cache, one part added at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import fusedstep as fs

from .speed import KEPT, WidthCase, ours

ELEMENTS, STEPS, ROUNDS = 16_384, 60, 40
_LOW: dict[str, Any] = {**KEPT, "state_dtype": "float32"}
#: What is added, to which line, and the options: "" is the whole step.
PARTS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("float32 step", "", "float32", {}),
    ("two bfloat16 states", "float32 step", "float32", {"state_dtype": "bfloat16"}),
    ("two 8-bit states", "float32 step", "float32", {"state_dtype": "uint8"}),
    ("bfloat16 parameter, low bits, bfloat16 gradient", "float32 step", "bfloat16", _LOW),
    ("all: low bits, bfloat16 states", "", "bfloat16", {**_LOW, "state_dtype": "bfloat16"}),
    ("all: low bits, 8-bit states", "", "bfloat16", {**_LOW, "state_dtype": "uint8"}),
)


def nanoseconds() -> dict[str, float]:
    """Return the least time per element of each line's step. Lines take turns."""
    case = WidthCase("parts", ((ELEMENTS,),))
    every = {name: ours(dtype, {**options, "num_threads": 1}, case).step for name, _, dtype, options in PARTS}
    for step in every.values():
        step()  # the first step makes what later ones use
    best = dict.fromkeys(every, float("inf"))
    for _ in range(ROUNDS):
        for name, step in every.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                step()
            best[name] = min(best[name], (time.perf_counter() - start) / STEPS / ELEMENTS * 1e9)
    return best


def table() -> Iterator[str]:
    """Yield the lines of the table for this machine's instruction set, and for AVX2 where that is AVX-512."""
    chosen = fs.isa()
    for isa in ("v4", "v3") if chosen == "v4" else (chosen,):
        fs.set_isa(isa)
        found = nanoseconds()
        yield f"\n{isa}, {ELEMENTS:,} elements, 1 thread"
        for name, base, _, _ in PARTS:
            ns = found[name] - (found[base] if base else 0.0)
            yield f"  {name:50}{ns:7.3f} ns per element"
    fs.set_isa(chosen)
