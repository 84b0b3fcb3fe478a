"""Measure the time that narrow formats (16 or 8 bits) add to a step of AdamW.

The step uses one thread and arrays in the L2 cache. Low bits are the bits of a float32 weight that its bfloat16
parameter cannot store. The optimizer keeps them as a state.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import fusedstep as fs

from .speed import KEPT, WidthCase, ours

ELEMENTS, STEPS, ROUNDS = 16_384, 60, 40
_LOW: dict[str, Any] = {**KEPT, "state_dtype": "float32"}
#: (name of a line of the table, name of the line whose time is subtracted, dtype of the parameters, options). If the
#: second name is "", nothing is subtracted.
PARTS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("float32 step", "", "float32", {}),
    ("two bfloat16 states add", "float32 step", "float32", {"state_dtype": "bfloat16"}),
    ("two 8-bit states add", "float32 step", "float32", {"state_dtype": "uint8"}),
    ("bfloat16 parameter, low bits and gradient add", "float32 step", "bfloat16", _LOW),
    ("whole step with low bits and bfloat16 states", "", "bfloat16", {**_LOW, "state_dtype": "bfloat16"}),
    ("whole step with low bits and 8-bit states", "", "bfloat16", {**_LOW, "state_dtype": "uint8"}),
)


def nanoseconds() -> dict[str, float]:
    """Return the shortest time of each line's step, in nanoseconds per element. The steps are timed in turn."""
    case = WidthCase("parts", ((ELEMENTS,),))
    every = {name: ours(dtype, {**options, "num_threads": 1}, case).step for name, _, dtype, options in PARTS}
    for step in every.values():
        step()  # not timed, because the first step allocates memory
    best = dict.fromkeys(every, float("inf"))
    for _ in range(ROUNDS):
        for name, step in every.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                step()
            best[name] = min(best[name], (time.perf_counter() - start) / STEPS / ELEMENTS * 1e9)
    return best


def table() -> Iterator[str]:
    """Yield the lines of the table for the instruction set in use. If this is AVX-512, also yield those for AVX2."""
    chosen = fs.isa()
    for isa in ("v4", "v3") if chosen == "v4" else (chosen,):
        fs.set_isa(isa)
        found = nanoseconds()
        yield f"\n{isa}, {ELEMENTS:,} elements, 1 thread"
        for name, base, _, _ in PARTS:
            ns = found[name] - (found[base] if base else 0.0)
            yield f"  {name:50}{ns:7.3f} ns per element"
    fs.set_isa(chosen)
