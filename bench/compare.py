"""Compare two runs on one machine, and list the results of fusedstep that became slower or faster.

The comparison uses the ratio of fusedstep's time to the time of the yardstick in the same run. A yardstick is simple
code that does comparable work. If the machine is slower during a run, the times of fusedstep and of the yardstick are
both longer, and their ratio stays the same.
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
    """Compare the ratio of an old run with the same ratio of a new run.

    `old` and `new` are fusedstep's time / the yardstick's time, each with its 95% interval. The interval of new / old
    is computed from these two intervals, because the errors of two runs are independent. Return "SLOWER" if the whole
    interval of new / old is above 1 + tolerance, "faster" if it is below 1 / (1 + tolerance), and "" otherwise.
    """
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
    """Return (key, old ratio, new ratio, verdict) for every result of fusedstep that is in both runs.

    The ratios are texts: fusedstep's time / the yardstick's time. Results without an old ratio are left out.
    """
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
    """Print the results that became slower or faster. Return 1 if a result became slower, and 0 otherwise.

    Raises
    ------
    ValueError
        If a file contains no results, or the two files have no case in common.
    """
    old, new = records.read(old_path), records.read(new_path)
    rows = changes(old, new, tolerance)
    if not rows:
        raise ValueError(f"{old_path} and {new_path} must have a case in common; they have none")
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
    print(f"Of {len(rows)} results, {slower} became slower and {faster} became faster by more than the tolerance.")
    print(f"The tolerance is {tolerance:.0%}, and the whole 95% interval of a change must be beyond it.")
    return int(slower > 0)
