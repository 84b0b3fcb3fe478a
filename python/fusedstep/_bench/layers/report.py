"""Print the tables of the layers, and judge their targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import verdicts
from ..harness import Ratio
from ..report import VERDICT, duration, interval, print_rows, significant
from .cases import ALONE, COPY, TORCH, Target
from .suite import CaseResult, Line

NOTES = (
    "The yardstick is the fastest copy into given memory that reads and writes as many bytes as the layer. It may use "
    "as many threads as the layer. The column 'x copy' is the time per byte, divided by the yardstick's time per byte. "
    "'new' means that the call allocates memory for the result. 'out' means that the result is written into given "
    "memory. The column 'x ours' compares 'new' with fusedstep's 'new', and 'out' with fusedstep's 'out'."
)


def print_notes() -> None:
    print(f"{NOTES}\n")


def print_case(result: CaseResult) -> None:
    first = result.levels[0]
    ours = f"x ours {first} [95%]"
    header = ("implementation", "output", "median", "GB/s", "x copy [95%]", ours, VERDICT)
    heading = f"{result.case.name}: {result.case.describe()}; yardstick {result.yardstick or 'none'}"
    print_rows(heading, header, [cells(line, first) for line in result.lines])


def cells(line: Line, level: str) -> tuple[str, ...]:
    kind = "out" if line.out else "new"
    if line.seconds is None or line.gb_s is None:
        return (line.name, kind, "-", "-", "-", "-", line.status)
    copy = interval(line.of_copy) if line.of_copy else "-"
    ratio = verdicts.cells(line.of_ours.get(level), bool(line.level))
    return (line.name, kind, duration(line.seconds), significant(line.gb_s), copy, *ratio)


def judge(target: Target, level: str, results: Mapping[str, CaseResult]) -> dict[str, Any]:
    """Compare a target with the results for one instruction set. The entry `met` is None if nothing was measured."""
    found = measured(target, level, results.get(target.case))
    entry: dict[str, Any] = {"case": target.case, "isa": level, "target": target.text()}
    if found is None:
        return entry | {"value": None, "measured": "-", "met": None}
    ratio, whom = found
    held = verdicts.held(ratio, target.bound, at_most=target.against != TORCH)
    return entry | {"measured": f"{interval(ratio)} x {whom}", **held}


def measured(target: Target, level: str, result: CaseResult | None) -> tuple[Ratio, str] | None:
    """Return a ratio of running times for a target, and the name of what fusedstep is compared with.

    If there is no ratio, return None in place of these two values.

    `level` is the instruction set of fusedstep. For a target against torch, the ratio is torch's time divided by
    fusedstep's time. There can be two such ratios: one for calls that allocate the result ("new"), and one for calls
    that write it into given memory ("out"). The smaller one is returned. For all other targets, the ratio is
    fusedstep's time per byte divided by the time per byte of a copy or of fusedstep's batch norm without residual.
    """
    ours = result.ours(level) if result is not None else None
    if result is None or ours is None:
        return None
    if target.against == COPY:
        return (ours.of_copy, COPY) if ours.of_copy else None
    if target.against == ALONE:
        return (ours.of_alone, ALONE) if ours.of_alone else None
    forms = [(line.of_ours[level], line) for line in result.lines if line.name == TORCH and level in line.of_ours]
    if not forms:
        return None
    ratio, line = min(forms, key=lambda form: form[0][0])
    return ratio, f"{TORCH}, {'out' if line.out else 'new'}"
