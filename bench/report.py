"""What was measured, for people (tables, the verdict) and for programs (JSON)."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fusedstep as fs

from .cases import Target
from .peers import OURS, PEERS
from .suite import CaseResult, Line

HEADER = ("implementation", "median", "GB/s", "of roofline", "time / ours [95%]", "")
PACKAGES = ("fusedstep", "numpy", "torch", "jax", "jaxlib", "optax", "numba", "deepspeed", "rich")


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{significant(seconds / size)} {unit}"
    return f"{significant(seconds / 1e-9)} ns"


def significant(x: float) -> str:
    """Three significant digits, never in exponents."""
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def interval(ratio: tuple[float, float, float]) -> str:
    middle, low, high = (significant(x) for x in ratio)
    return f"{middle} [{low}, {high}]"


def cells(line: Line) -> tuple[str, ...]:
    if line.seconds is None or line.gb_s is None:
        return (line.name, "-", "-", "-", "-", line.status)
    roof = "-" if line.of_roofline is None else f"{line.of_roofline:.2f}"
    ratio = "-" if line.ratio is None else interval(line.ratio)
    return (line.name, duration(line.seconds), significant(line.gb_s), roof, ratio, "")


def title(result: CaseResult) -> str:
    return f"{result.case.name}: {result.case.describe()}, {result.bytes_per_element} bytes per element"


def print_case(result: CaseResult) -> None:
    rows = [cells(line) for line in result.lines]
    width = len(HEADER) - (not any(row[-1] for row in rows))  # no column for remarks where there are none
    print_table(title(result), HEADER[:width], [row[:width] for row in rows])


def print_table(heading: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print with rich where it is installed; in plain columns otherwise."""
    if find_spec("rich") is None:
        print(plain_table(heading, header, rows))
        return
    console_of: Any = importlib.import_module("rich.console")
    table_of: Any = importlib.import_module("rich.table")
    table = table_of.Table()
    for i, name in enumerate(header):
        table.add_column(name, justify=justify(i, header), no_wrap=bool(name), overflow="fold")
    for row in rows:
        table.add_row(*row, style="bold green" if row[0] == OURS else None)
    console = console_of.Console(markup=False, highlight=False)
    if not console.is_terminal:  # a file or a pipe has no width
        console.width = 120
    console.print(heading, style="bold", soft_wrap=True)
    console.print(table)


def justify(i: int, header: Sequence[str]) -> str:
    """Names and remarks to the left, figures to the right."""
    return "left" if i == 0 or header[i] in ("", "verdict") else "right"


def plain_table(heading: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def text(row: Sequence[str]) -> str:
        sides = [str.ljust if justify(i, header) == "left" else str.rjust for i in range(len(header))]
        return "  ".join(side(c, w) for side, c, w in zip(sides, row, widths, strict=True)).rstrip()

    return "\n".join([heading, text(header), *(text(row) for row in rows), ""])


def judge(target: Target, results: Mapping[str, CaseResult]) -> dict[str, Any]:
    """Hold a target against the figures: `met` is None where there is none."""
    entry = {"case": target.case, "target": target_text(target), "value": None, "measured": "-", "met": None}
    result = results.get(target.case)
    ours = result.line(OURS) if result is not None else None
    if result is None or ours is None or ours.seconds is None:
        return entry
    if not target.peer:
        return entry | {
            "value": ours.seconds,
            "measured": duration(ours.seconds),
            "met": ours.seconds <= target.bound,
        }
    ratios = [(line.ratio, line.name) for line in result.lines if line.ratio and line.name.startswith(target.peer)]
    if not ratios:
        return entry
    ratio, name = min(ratios)
    return entry | {
        "value": ratio[0],
        "measured": f"{interval(ratio)} x {name}",
        "met": ratio[0] >= target.bound,
    }


def target_text(target: Target) -> str:
    if target.peer:
        return f"at least {target.bound:g} x as fast as {target.peer}"
    return f"at most {duration(target.bound)}"


def print_verdict(verdict: Sequence[Mapping[str, Any]]) -> None:
    words = {True: "met", False: "NOT MET", None: "not measured"}
    rows = [(e["case"], e["target"], e["measured"], words[e["met"]]) for e in verdict]
    print_table("Targets", ("case", "target", "measured", "verdict"), rows)


def machine(threads: int) -> dict[str, Any]:
    """Where the figures come from: without this they mean nothing."""
    return {
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version_of(name) for name in PACKAGES},
        "isa": fs.isa(),
        "threads": threads,
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "environment": {k: v for k, v in os.environ.items() if k.startswith(("OMP_", "GOMP_", "FUSEDSTEP_", "THP_"))},
    }


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


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
    print(f"isa {facts['isa']}, {facts['threads']} threads for all; Python {facts['python']}, {versions}")
    if absent:
        print(f"not installed: {absent}")
    notes = "; ".join(f"{peer.name}: {peer.note}" for peer in PEERS if peer.note)
    print(f"{notes}\n")


def print_warning(facts: Mapping[str, Any]) -> None:
    """Say when the figures cannot be trusted: a thread that waits for a lost core waits for milliseconds."""
    if (facts["load_average"] or 0.0) > 0.5:
        print(f"Other processes were running (load {facts['load_average']:.1f}): the figures mean little.")
