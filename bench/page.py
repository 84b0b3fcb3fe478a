"""Make the page docs/benchmarks.md, which shows every figure of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fusedstep._bench import records, report
from fusedstep._bench.records import Record
from fusedstep._bench.rows import COLUMNS
from fusedstep._bench.verdicts import cells, outcome

from .suites import SUITES
from .tables import page_block, table

MEASURE = """## On your machine

`fusedstep bench` compares the installed libraries on your machine in two minutes, and needs no clone of the repository
([how to measure](howto/measure.md)). In a clone, `python -m bench` runs every case of this page."""

READING = """## How to read the tables below

A case is one task with one size of data, for example a step of Adam for one tensor of 250,000 elements. A suite is a
group of cases. Each suite has a section, and each case has a table. The text above a table describes the case and names
the yardstick, if there is one. A yardstick is simple code that does comparable work. The head of this page gives
the instruction set and the number of threads. They hold for every row, except where the list below
says otherwise (**v3**, **@1** and **numpy**). The list explains the words in the tables:

- **time** is the median time of one step or one call.
- **GB/s** is the number of bytes that the task must read and write, divided by the time.
- **time / yardstick** is the time of the row divided by the time of the yardstick, with its 95% interval.
- **time / time of fusedstep** is the time of the row divided by the time of fusedstep, with its 95% interval. The
  column **fusedstep is** says whether fusedstep is faster or slower. If the interval contains 1, the column says that
  fusedstep is equal within the interval.
- **not available**, **left out** and **failed** in the column of times are followed by the reason why there is no time.
  "Too slow for the remaining time" means that the time limit of the case was reached before the row was measured.
  If the reason contains "all arrays together", the arrays of this row and of the rows above it need more memory than
  the option `--memory` of `python -m bench` allows.
- **roofline** is a compiled loop that reads and writes as many bytes as the step. Its only arithmetic is to add one
  array, the gradient, to other arrays, which stand for the parameters and the states.
- **copy** is a copy that reads and writes as many bytes as the layer. Several ways to copy are timed. The fastest way
  is the yardstick. One of these ways uses torch's method `copy_`. The rows for `copy_` are not counted as
  comparisons with torch.
- **out** means that the caller allocates the memory for the result. **new** means that the call allocates the memory.
  The time of a row with **out** is divided by the time of fusedstep with **out**, and the same holds for **new**.
- **v4** and **v3** are instruction sets that fusedstep uses: AVX-512 and AVX2. "The time of fusedstep" is the time with
  the instruction set that the head of this page gives.
- **bn alone** is fusedstep's batch norm without the residual and the ReLU that the case has. It reads and writes fewer
  bytes than the case. In the column **time / yardstick**, its time per byte is divided by the yardstick's time per
  byte.
- **torch fused** is torch's optimizer with `fused=True`, **torch foreach** is the optimizer with `foreach=True`, and
  **torch default** is the optimizer with neither.
- **fusedstep, torch's layers** means that only the optimizer is from fusedstep. **fusedstep, fused ReLU** means that
  fusedstep's batch norm also applies the ReLU and adds the residual.
- **donated** means that JAX may write the result into the memory of an older result. **rbg** is a generator of random
  numbers in JAX.
- **numpy** is plain NumPy code on one thread.
- **@1** after a name means one thread, and **@2** means two threads. The time of such a row is divided by the time of
  fusedstep with the same number of threads.
- **compiled/** in the name of a case means that the case also measures torch.compile and DeepSpeed, which compile
  their steps.
- **digits** and **breast_cancer** are data sets of scikit-learn.
- **accuracy/** in the name of a case means that a whole cross-validation is timed. Each row shows the time of a
  single cross-validation. This is too little for a 95% interval, so these cases have no ratios. This page does not
  show the accuracies.
- **ready after** is the time from the creation of the optimizer to the end of its first step, including compilation. It
  is given for libraries that compile while the program runs."""

SHORT = (
    "**In short.** In this list, a ratio is the time of another library divided by the time of fusedstep. The brackets "
    "after a ratio contain the 95% interval of the ratio. If the interval contains 1, neither library is clearly "
    "faster: they are equal within the interval. The words in the tables are explained in "
    "[How to read the tables](#how-to-read-the-tables-below)."
)


def page(document: Mapping[str, Any]) -> str:
    """Return the text of docs/benchmarks.md."""
    everything = list(records.records(document))
    parts = [
        "# Benchmarks",
        "`python -m bench report` writes this page from [the results of one run](../bench/results/reference.json) of "
        "`python -m bench`. A [decision](adr/0015-measuring.md) describes how the times are measured, and why.",
        page_block(document),
        "## Pictures",
        *pictures(document),
        MEASURE,
        READING,
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
    """Return a section for every suite, with a table for every case."""
    header = ("implementation", "time", "GB/s", "time / yardstick", "time / time of fusedstep", "fusedstep is")
    parts = []
    for suite in dict.fromkeys(r.suite for r in everything):
        about = next((s.about for s in SUITES if s.name == suite), "")
        parts.append(f"## {suite}: {about}" if about else f"## {suite}")
        if text := takeaway([r for r in everything if r.suite == suite]):
            parts.append(text)
        for case in (case for case in document["cases"] if case["suite"] == suite):
            lines = [r for r in everything if (r.suite, r.case) == (suite, case["name"])]
            rows = [page_row(r) for r in lines]
            compared = any(r.over_yardstick for r in lines)
            yardstick = f"; yardstick: `{case['yardstick']}`" if case.get("yardstick") and compared else ""
            times = "; the table shows times, not accuracies" if case["name"].startswith("accuracy/") else ""
            parts += [f"### {case['name']}\n\n{case['what']}{yardstick}{times}{taken(case)}"]
            parts.append("\n".join(table(header, rows)))
    return parts


def takeaway(lines: Sequence[Record]) -> str:
    """Return the results of a suite in words: for each library, the verdicts and the least and the greatest ratio."""
    parts = []
    for label, start in COLUMNS:
        ratios = sorted(r.over_ours for r in lines if r.is_peer and r.name.startswith(start) and r.over_ours)
        if ratios:
            ends = " to ".join(report.interval(r) for r in dict.fromkeys((ratios[0], ratios[-1])))
            parts.append(f"- {outcome(label, ratios)} {label} takes {ends} times as long as fusedstep.")
    return "\n".join([SHORT, "", *parts]) if parts else ""


def taken(case: Mapping[str, Any]) -> str:
    """Return a note on the CPU time that others used during a case, or "" if the case was not disturbed."""
    load = case.get("load") or {}
    if not load.get("disturbed"):
        return ""
    percent = 100 * (load["others"] + load["stolen"])
    return f"; other processes and virtual machines used {percent:.0f}% of one CPU during the case"


def page_row(r: Record) -> tuple[str, ...]:
    if r.seconds is None:
        return (r.name, r.status, "", "", "", "")
    bandwidth = report.significant(r.gb_s) if r.gb_s else "-"
    yardstick = report.interval(r.over_yardstick) if r.over_yardstick else "-"
    name = r.name if r.ready_s is None else f"{r.name}, ready after {report.duration(r.ready_s)}"
    is_ours = r.name.startswith(report.OURS)
    return (name, report.duration(r.seconds), bandwidth, yardstick, *cells(r.over_ours, is_ours))


def untimed(everything: Sequence[Record]) -> list[str]:
    """Return a list of the libraries that have no figure in any case, each with the reason."""
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
