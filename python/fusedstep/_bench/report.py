"""Print tables, and collect facts about the machine for the file of results."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import fusedstep as fs

from .._base.machine import cpu_model
from .harness import Ratio

OURS = "fusedstep"  # the names of our lines start with this word
PACKAGES = (
    "fusedstep", "numpy", "ml_dtypes", "torch", "jax", "jaxlib", "optax", "numba", "scikit-learn", "deepspeed",
    "bitsandbytes", "torchao",
)  # fmt: skip


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{significant(seconds / size)} {unit}"
    return f"{significant(seconds / 1e-9)} ns"


def significant(x: float) -> str:
    """Return a number as text with about three significant digits, without an exponent."""
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def interval(ratio: Ratio) -> str:
    middle, low, high = (significant(x) for x in ratio)
    return f"{middle} [{low}, {high}]"


def print_rows(heading: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table. If the last column is empty in all rows, leave it out."""
    width = len(header) - (not any(row[-1] for row in rows))
    print_table(heading, header[:width], [row[:width] for row in rows])


def print_table(heading: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with rich if rich is installed, and in plain columns otherwise."""
    if find_spec("rich") is None:
        print(plain_table(heading, header, rows))
        return
    console_of: Any = importlib.import_module("rich.console")
    table_of: Any = importlib.import_module("rich.table")
    table = table_of.Table()
    for i, name in enumerate(header):
        table.add_column(name, justify=justify(i, header), no_wrap=name not in ("", VERDICT), overflow="fold")
    for row in rows:
        table.add_row(*row, style="bold green" if row[0].startswith(OURS) else None)
    console = console_of.Console(markup=False, highlight=False)
    if not console.is_terminal:  # files and pipes do not report a width
        console.width = 150
    console.print(heading, style="bold", soft_wrap=True)
    console.print(table)


VERDICT = "fusedstep is"  # header of the column with verdicts and with reasons for missing times


def justify(i: int, header: Sequence[str]) -> str:
    """Return "left" for the columns of names and remarks, and "right" for the columns of numbers."""
    return "left" if i == 0 or header[i] in ("", "verdict", VERDICT) else "right"


def plain_table(heading: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def text(row: Sequence[str]) -> str:
        sides = [str.ljust if justify(i, header) == "left" else str.rjust for i in range(len(header))]
        return "  ".join(side(c, w) for side, c, w in zip(sides, row, widths, strict=True)).rstrip()

    return "\n".join([heading, text(header), *(text(row) for row in rows), ""])


def machine(threads: int) -> dict[str, Any]:
    """Return the facts about the machine and the software that influence the times."""
    return {
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in PACKAGES},
        "isa": fs.isa(),
        "threads": threads,
        "environment": {k: v for k, v in os.environ.items() if k.startswith(("OMP_", "GOMP_", "FUSEDSTEP_", "THP_"))},
    }


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def print_machine(facts: Mapping[str, Any]) -> None:
    versions = ", ".join(f"{name} {v}" for name, v in facts["versions"].items() if v)
    absent = ", ".join(name for name, v in facts["versions"].items() if not v)
    print(f"{facts['cpu']}, {facts['cpus_usable']} of {facts['cpus']} CPUs; {facts['platform']}")
    print_warning(facts)
    isa = facts["isa"] if isinstance(facts["isa"], str) else ", ".join(facts["isa"])
    backend = f"; fusedstep uses {facts['backend']}" if "backend" in facts else ""
    print(f"isa {isa}, {facts['threads']} threads per library{backend}; Python {facts['python']}, {versions}")
    if absent:
        print(f"not installed: {absent}")


def warning(facts: Mapping[str, Any]) -> str:
    """Return a warning if the machine was disturbed. Otherwise return an empty text."""
    if reasons := facts.get("state", {}).get("disturbed"):
        return f"The machine was disturbed: {'; '.join(reasons)}. The times may be wrong."
    return ""


def print_warning(facts: Mapping[str, Any]) -> None:
    if text := warning(facts):
        print(text)
