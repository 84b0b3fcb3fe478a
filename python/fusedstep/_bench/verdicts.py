"""Verdicts on a ratio with its interval: faster, slower or neither, and whether it reaches a target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .harness import Ratio
from .report import interval, print_table

FASTER, EQUAL, SLOWER = "faster", "equal within the interval", "slower"  # verdicts on fusedstep
MET, MET_WITHIN, MISSED_WITHIN, MISSED = "met", "met, within the interval", "NOT MET, within the interval", "NOT MET"


def verdict(over_ours: Ratio) -> str:
    """Return the verdict on fusedstep from the ratio of another library's time to its own."""
    _, low, high = over_ours
    return FASTER if low > 1 else SLOWER if high < 1 else EQUAL


def said(over_ours: Ratio | None) -> str:
    """Return the ratio, its interval and its verdict for a cell of a table."""
    return f"{interval(over_ours)} {verdict(over_ours)}" if over_ours else "-"


def cells(over_ours: Ratio | None, mine: bool, remark: str = "") -> tuple[str, str]:
    """Return two cells: the ratio, and the verdict with a remark. A line of ours has no verdict."""
    word = verdict(over_ours) if over_ours and not mine else ""
    return (interval(over_ours) if over_ours else "-", ", ".join(text for text in (word, remark) if text))


def held(ratio: Ratio, bound: float, at_most: bool = False) -> dict[str, Any]:
    """Compare a ratio with a target. `sure` is True if the whole interval is on the same side of the target."""
    reached = [x <= bound if at_most else x >= bound for x in ratio]
    return {"value": ratio[0], "met": reached[0], "sure": len(set(reached)) == 1}


def word(entry: Mapping[str, Any]) -> str:
    """Return the verdict on a target as a word."""
    if entry["met"] is None:
        return "not measured"
    sure = entry.get("sure", True)
    return (MET if sure else MET_WITHIN) if entry["met"] else (MISSED if sure else MISSED_WITHIN)


def print_targets(entries: Sequence[Mapping[str, Any]], heading: str) -> None:
    rows = [(e["case"], e["target"], e["measured"], word(e)) for e in entries]
    print_table(heading, ("case", "target", "measured", "verdict"), rows)


def count(ratios: Iterable[Ratio]) -> dict[str, int]:
    """Count the verdicts."""
    words = [verdict(ratio) for ratio in ratios]
    return {each: words.count(each) for each in (FASTER, EQUAL, SLOWER)}
