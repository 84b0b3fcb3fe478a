"""Print the tables of training loops in PyTorch, and judge their targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fusedstep._bench import verdicts
from fusedstep._bench.report import VERDICT, duration, interval, print_rows

from .cases import Target
from .peers import OURS, PEERS
from .suite import CaseResult, Line

HEADER = ("implementation", "median", "time / ours [95%]", VERDICT)


def print_notes() -> None:
    notes = "; ".join(f"{peer.name}: {peer.note}" for peer in PEERS if peer.note)
    print(f"{notes}\n")


def cells(line: Line) -> tuple[str, ...]:
    if line.seconds is None:
        return (line.name, "-", "-", line.status)
    return (line.name, duration(line.seconds), *verdicts.cells(line.over_ours, line.name == OURS))


def print_case(result: CaseResult) -> None:
    print_rows(f"{result.case.name}: {result.case.describe()}", HEADER, [cells(line) for line in result.lines])


def judge(target: Target, results: Mapping[str, CaseResult]) -> dict[str, Any]:
    """Compare a target with the measured ratio. In the result, `met` is None if nothing was measured."""
    text = f"at least {target.bound:g} x as fast as {target.peer}" if target.bound > 1 else f"as fast as {target.peer}"
    result = results.get(target.case)
    lines = result.lines if result is not None else []
    ratios = [(line.over_ours, line.name) for line in lines if line.over_ours and line.name.startswith(target.peer)]
    if not ratios:
        return {"case": target.case, "target": text, "value": None, "measured": "-", "met": None}
    ratio, name = min(ratios)
    measured = f"{interval(ratio)} x {name}"
    return {"case": target.case, "target": text, "measured": measured, **verdicts.held(ratio, target.bound)}
