"""Print the tables of the optimizers, and judge their targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import verdicts
from ..report import VERDICT, duration, interval, print_rows, significant
from .cases import Target
from .peers import OURS, PEERS
from .suite import CaseResult, Line

HEADER = ("implementation", "median", "GB/s", "time / roofline [95%]", "time / ours [95%]", VERDICT)


def print_notes() -> None:
    notes = "; ".join(f"{peer.name}: {peer.note}" for peer in PEERS if peer.note)
    print(f"{notes}\n")


def cells(line: Line) -> tuple[str, ...]:
    if line.seconds is None or line.gb_s is None:
        return (line.name, "-", "-", "-", "-", line.status)
    roof = "-" if line.over_yardstick is None else interval(line.over_yardstick)
    ready = "" if line.ready_s is None else f"ready after {duration(line.ready_s)}"
    ratio = verdicts.cells(line.ratio, line.mine, ready)
    return (line.name, duration(line.seconds), significant(line.gb_s), roof, *ratio)


def title(result: CaseResult) -> str:
    return f"{result.case.name}: {result.case.describe()}, {result.bytes_per_element} bytes per element"


def print_case(result: CaseResult) -> None:
    print_rows(title(result), HEADER, [cells(line) for line in result.lines])


def judge(target: Target, results: Mapping[str, CaseResult]) -> dict[str, Any]:
    """Compare a target with the results. In the returned dict, `met` is None if nothing was measured."""
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
        "measured": f"{interval(ratio)} x {name}",
        **verdicts.held(ratio, target.bound),
    }


def target_text(target: Target) -> str:
    if target.peer:
        return f"at least {target.bound:g} x as fast as {target.peer}"
    return f"at most {duration(target.bound)}"
