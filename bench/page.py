"""docs/benchmarks.md: every figure of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusedstep._bench import records, report
from fusedstep._bench.records import Record
from fusedstep._bench.rows import COLUMNS
from fusedstep._bench.verdicts import said

from .suites import SUITES
from .tables import counted, page_block, table

MEASURE = """## On your machine

`fusedstep bench` compares the installed libraries on your machine in two minutes, without the repository ([how to
measure](howto/measure.md)). `python -m bench`, in a clone, runs every case of this page."""


def page(document: Mapping[str, Any]) -> str:
    """Write docs/benchmarks.md."""
    everything = list(records.records(document))
    parts = [
        "# Benchmarks",
        "Written by `python -m bench report` from [the results of one run](../bench/results/reference.json) of "
        "`python -m bench`; how it measures and why is [a decision](adr/0015-measuring.md).",
        page_block(document),
        "## Pictures",
        *pictures(document),
        MEASURE,
        *untimed(everything),
        *suites(document, everything),
    ]
    if document["out_of_time"]:
        parts.append(f"No time was left for: {', '.join(document['out_of_time'])}.")
    return "\n\n".join(parts) + "\n"


def pictures(document: Mapping[str, Any]) -> list[str]:
    from .pictures import TITLES

    return [f"![{title}](benchmarks/{name}.png)" for name, title in TITLES.items()]


def suites(document: Mapping[str, Any], everything: Sequence[Record]) -> list[str]:
    """Write every figure of every suite."""
    header = ("implementation", "time", "GB/s", "time / yardstick", "time / ours, and what fusedstep is")
    parts = []
    for suite in dict.fromkeys(r.suite for r in everything):
        about = next((s.about for s in SUITES if s.name == suite), "")
        parts.append(f"## {suite}: {about}" if about else f"## {suite}")
        if text := takeaway([r for r in everything if r.suite == suite]):
            parts.append(text)
        for case in (case for case in document["cases"] if case["suite"] == suite):
            lines = [r for r in everything if (r.suite, r.case) == (suite, case["name"])]
            rows = [page_row(r) for r in lines]
            yardstick = f"; yardstick: {case['yardstick']}" if case.get("yardstick") else ""
            parts += [f"### {case['name']}\n\n{case['what']}{yardstick}{taken(case)}"]
            parts.append("\n".join(table(header, rows)))
    return parts


def takeaway(lines: Sequence[Record]) -> str:
    """Return the results of a suite in words: the outcomes against each peer, and the least and the greatest ratio."""
    parts = []
    for label, start in COLUMNS:
        ratios = sorted(r.over_ours for r in lines if r.is_peer and r.name.startswith(start) and r.over_ours)
        if ratios:
            ends = " to ".join(report.interval(r) for r in dict.fromkeys((ratios[0], ratios[-1])))
            parts.append(f"against {label}, fusedstep is {counted(ratios)} ({ends} times as long)")
    return f"**In short:** {'; '.join(parts)}." if parts else ""


def taken(case: Mapping[str, Any]) -> str:
    """Return a note on the load of other processes during a case, if it was large."""
    load = case.get("load") or {}
    return f"; other processes took {load['others'] + load['stolen']:.2f} CPUs" if load.get("disturbed") else ""


def page_row(r: Record) -> tuple[str, ...]:
    if r.seconds is None:
        return (r.name, r.status, "", "", "")
    bandwidth = report.significant(r.gb_s) if r.gb_s else "-"
    yardstick = report.interval(r.over_yardstick) if r.over_yardstick else "-"
    ratio = report.interval(r.over_ours) if r.over_ours and r.mine else said(r.over_ours)
    name = r.name if r.ready_s is None else f"{r.name}, ready after {report.duration(r.ready_s)}"
    return (name, report.duration(r.seconds), bandwidth, yardstick, ratio)


def untimed(everything: Sequence[Record]) -> list[str]:
    """List the libraries that have no figure in any case, each with the reason."""
    reasons: dict[str, str] = {}
    timed: set[str] = set()
    for r in everything:
        name = r.name.partition(" @")[0]
        if r.seconds is not None:
            timed.add(name)
        elif r.is_peer:
            reasons.setdefault(name, r.status)
    listed = [f"- {name}: {reason}" for name, reason in reasons.items() if name not in timed]
    return ["## Libraries without a figure", "\n".join(listed)] if listed else []
