"""Verdicts from ratios with intervals: whether fusedstep is faster, slower or equal, and whether a target is met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .harness import Ratio
from .report import interval, print_table

FASTER, EQUAL, SLOWER = "faster", "equal within the interval", "slower"  # what fusedstep is
MET, MET_WITHIN = "met", "met, but the target is within the interval"
MISSED, MISSED_WITHIN = "NOT MET", "NOT MET, but the target is within the interval"


def verdict(over_ours: Ratio) -> str:
    """Return the verdict on fusedstep. `over_ours` is the time of another library / the time of fusedstep."""
    _, low, high = over_ours
    return FASTER if low > 1 else SLOWER if high < 1 else EQUAL


def said(over_ours: Ratio | None) -> str:
    """Return the text of a cell of a table: the ratio, its interval and the verdict."""
    return f"{interval(over_ours)} {verdict(over_ours)}" if over_ours else "-"


def cells(over_ours: Ratio | None, mine: bool, remark: str = "") -> tuple[str, str]:
    """Return two cells: the ratio, and the verdict with a remark. A line of fusedstep (`mine`) has no verdict."""
    word = verdict(over_ours) if over_ours and not mine else ""
    return (interval(over_ours) if over_ours else "-", ", ".join(text for text in (word, remark) if text))


def held(ratio: Ratio, bound: float, at_most: bool = False) -> dict[str, Any]:
    """Compare a ratio with the bound of a target.

    The bound is the largest allowed ratio if `at_most` is True, and the smallest allowed ratio if `at_most` is False.

    In the returned dict, `value` is the ratio, `met` is True if the ratio is allowed, and `sure` is True if the bound
    is outside the interval of the ratio.
    """
    reached = [x <= bound if at_most else x >= bound for x in ratio]
    return {"value": ratio[0], "met": reached[0], "sure": len(set(reached)) == 1}


def word(entry: Mapping[str, Any]) -> str:
    """Return in words whether a target is met."""
    if entry["met"] is None:
        return "not measured"
    sure = entry.get("sure", True)
    return (MET if sure else MET_WITHIN) if entry["met"] else (MISSED if sure else MISSED_WITHIN)


def print_targets(entries: Sequence[Mapping[str, Any]], heading: str) -> None:
    rows = [(e["case"], e["target"], e["measured"], word(e)) for e in entries]
    print_table(heading, ("case", "target", "measured", "verdict"), rows)


def count(ratios: Iterable[Ratio]) -> dict[str, int]:
    """Return the number of ratios for each verdict."""
    words = [verdict(ratio) for ratio in ratios]
    return {each: words.count(each) for each in (FASTER, EQUAL, SLOWER)}


def outcome(label: str, ratios: Sequence[Ratio]) -> str:
    """Return a sentence with the number of ratios for each verdict. `label` names the other libraries."""
    if not ratios:
        return f"There is no comparison with {label}."
    if len(ratios) == 1:
        return f"Only one row for {label} has a ratio. According to this ratio, fusedstep is {verdict(ratios[0])}."
    faster, equal, slower = (f"{word} in {number}" for word, number in count(ratios).items())
    return f"Of {len(ratios)} comparisons with {label}, fusedstep is {faster}, {equal} and {slower}."
