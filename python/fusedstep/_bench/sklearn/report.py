"""Print the tables of the estimators, and judge their targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import verdicts
from ..report import VERDICT, duration, interval, print_rows
from .cases import OURS, THEIRS, Target
from .suite import CaseResult, Line

NOTES = (
    "In the cases fit/*, the time is the time of a whole fit divided by its number of training steps. After a fit, our "
    "weights must agree with scikit-learn's weights. In the cases accuracy/*, the time is that of the whole "
    "cross-validation, which runs once."
)
HEADER = ("implementation", "time", "accuracy", "error of weights", "time / ours [95%]", VERDICT)


def print_notes() -> None:
    print(f"{NOTES}\n")


def cells(line: Line) -> tuple[str, ...]:
    if line.seconds is None or line.accuracy is None:
        return (line.name, "-", "-", "-", "-", line.status)
    error = "-" if line.error is None else f"{line.error:.1g}"
    return (
        line.name,
        duration(line.seconds),
        f"{line.accuracy:.4f}",
        error,
        *verdicts.cells(line.over_ours, line.name == OURS),
    )


def print_case(result: CaseResult) -> None:
    print_rows(f"{result.case.name}: {result.case.describe()}", HEADER, [cells(line) for line in result.lines])


def judge(target: Target, results: Mapping[str, CaseResult]) -> dict[str, Any]:
    """Compare a target with the results. In the returned dict, `met` is None if nothing was measured."""
    entry: dict[str, Any] = {"case": target.case, "target": target.text(), "value": None, "measured": "-", "met": None}
    result = results.get(target.case)
    lines = [result.line(name) if result else None for name in (OURS, THEIRS)]
    if lines[0] is None or lines[1] is None or lines[0].accuracy is None or lines[1].accuracy is None:
        return entry
    if target.bound:
        ratio = lines[1].over_ours
        assert ratio is not None  # in a case fit/*, a line has an accuracy only if its fit was timed
        return entry | {"measured": f"{interval(ratio)} x", **verdicts.held(ratio, target.bound)}
    ours, theirs = lines[0].accuracy, lines[1].accuracy
    return entry | {"value": ours, "measured": f"{ours:.4f} against {theirs:.4f}", "met": ours >= theirs}
