"""Print the tables of the training steps, and judge their targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import verdicts
from ..report import VERDICT, duration, interval, print_rows, significant
from .cases import Target
from .peers import OURS, PEERS
from .suite import CaseResult, Line

HEADER = ("implementation", "a step", "GFLOP/s", "time / NumPy [95%]", "time / ours [95%]", VERDICT)


def print_notes() -> None:
    notes = "; ".join(f"{peer.name}: {peer.note}" for peer in PEERS if peer.note)
    print(f"{notes}\n")


def cells(line: Line) -> tuple[str, ...]:
    if line.seconds is None or line.gflop_s is None:
        return (line.name, "-", "-", "-", "-", line.status)
    yardstick = interval(line.over_yardstick) if line.over_yardstick else "-"
    ratio = verdicts.cells(line.over_ours, line.name == OURS)
    return (line.name, duration(line.seconds), significant(line.gflop_s), yardstick, *ratio)


def print_case(result: CaseResult) -> None:
    print_rows(f"{result.case.name}: {result.case.describe()}", HEADER, [cells(line) for line in result.lines])


def judge(target: Target, results: Mapping[str, CaseResult]) -> dict[str, Any]:
    """Compare a target with the results. In the returned dict, `met` is None if nothing was measured."""
    text = f"at least {target.bound:g} x as fast as {target.peer}" if target.bound > 1 else f"as fast as {target.peer}"
    result = results.get(target.case)
    line = result.line(target.peer) if result is not None else None
    if line is None or line.over_ours is None:
        return {"case": target.case, "target": text, "value": None, "measured": "-", "met": None}
    measured = f"{interval(line.over_ours)} x {target.peer}"
    return {"case": target.case, "target": text, "measured": measured, **verdicts.held(line.over_ours, target.bound)}
