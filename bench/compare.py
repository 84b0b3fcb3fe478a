"""Compare two runs on one machine: list the lines that became slower or faster.

fusedstep is compared by its ratio to the yardstick of the same run (a kernel with the same traffic, a copy, plain
NumPy). If the machine is slower during a run, both are slower, and the ratio stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fusedstep._bench import records, report
from fusedstep._bench.harness import Ratio

Key = tuple[str, str, str]  # suite, case, implementation


def verdict(old: Ratio, new: Ratio, tolerance: float) -> str:
    """Return the verdict, from the interval of the change and the tolerance. The errors of the runs are independent."""
    change = new[0] / old[0]
    least = change * math.exp(-math.hypot(math.log(new[0] / new[1]), math.log(old[2] / old[0])))
    most = change * math.exp(math.hypot(math.log(new[2] / new[0]), math.log(old[0] / old[1])))
    if least > 1 + tolerance:
        return "SLOWER"
    if most < 1 / (1 + tolerance):
        return "faster"
    return ""


def ours(document: Mapping[str, Any]) -> dict[Key, records.Record]:
    return {(r.suite, r.case, r.name): r for r in records.records(document) if r.mine}


def changes(old: Mapping[str, Any], new: Mapping[str, Any], tolerance: float) -> list[tuple[Key, str, str, str]]:
    """Return (what, old ratio, new ratio, verdict) for every line of fusedstep that is in both."""
    before, after, rows = ours(old), ours(new), []
    for key, was in before.items():
        now = after.get(key)
        if now is None or was.over_yardstick is None:
            continue
        if now.over_yardstick is None:
            rows.append((key, report.interval(was.over_yardstick), "-", f"SLOWER: {now.status}"))
            continue
        word = verdict(was.over_yardstick, now.over_yardstick, tolerance)
        rows.append((key, report.interval(was.over_yardstick), report.interval(now.over_yardstick), word))
    return rows


def compare_files(old_path: Path, new_path: Path, tolerance: float) -> int:
    """Print the changes; return 1 if a line became slower.

    Raises
    ------
    ValueError
        If a file holds no results, or the two have nothing in common.
    """
    old, new = records.read(old_path), records.read(new_path)
    rows = changes(old, new, tolerance)
    if not rows:
        raise ValueError(f"{old_path} and {new_path} must share a case; they share none")
    for path, here, there in ((old_path, old, new), (new_path, new, old)):
        if alone := sorted({case for _, case, _ in ours(here).keys() - ours(there).keys()}):
            print(f"Only in {path}: {', '.join(alone)}")
    for what in ("cpu", "cpus_usable", "isa", "threads", "backend"):
        if old["machine"].get(what) != new["machine"].get(what):
            print(f"Not the same {what}: {old['machine'].get(what)} and {new['machine'].get(what)}")
    for document in (old, new):
        report.print_warning(document["machine"])
    changed = [row for row in rows if row[3]]
    if changed:
        header = ("suite", "case", "implementation", "old: time / yardstick", "new: time / yardstick", "")
        report.print_table("Changes", header, [(*key, was, now, word) for key, was, now, word in changed])
    slower = sum(word.startswith("SLOWER") for *_, word in rows)
    faster = sum(word == "faster" for *_, word in rows)
    print(f"{len(rows)} compared, {slower} slower, {faster} faster, beyond the intervals and {tolerance:.0%}")
    return int(slower > 0)
