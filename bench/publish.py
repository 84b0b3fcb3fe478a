"""Write README's table, docs/benchmarks.md and its pictures from the results of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fusedstep._bench import records, report
from fusedstep._bench.common import missing
from fusedstep._bench.harness import Ratio
from fusedstep._bench.records import Record
from fusedstep._bench.rows import COLUMNS, Row, columns_of, fastest, rows_of
from fusedstep._bench.verdicts import count, said

from .suites import SUITES

ROOT = Path(__file__).resolve().parents[1]
README, PAGE, PICTURES = ROOT / "README.md", ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks"
KEPT = ROOT / "bench" / "results" / "reference.json"  # what README and docs/benchmarks.md show
TORCH_PAGE = ROOT / "docs" / "torch.md"
BEGIN, END = "<!-- bench: written by `python -m bench report` -->", "<!-- bench: end -->"

# Rows of the table of docs/benchmarks.md and of the picture: what to call them, and their cases.
ROWS = (
    ("Adam, one tensor of 50M", "adam/50M"),
    ("Adam, one tensor of 250,000", "adam/250k"),
    ("Adam, 300 tensors of 1,000", "adam/300x1000"),
    ("Adam, the six tensors of a 64-64-64-10 network", "adam/mlp"),
    ("Adam, ResNet-18", "adam/resnet18"),
    ("Adam, GPT-2 (124M)", "adam/gpt2"),
    ("Adam with states of 8 bits, one tensor of 8M", "8bit/8M"),
    ("clip + AdamW + average + zero, 300 tensors of 1,000", "full/300x1000"),
    ("clip + AdamW + average + zero, ResNet-18", "full/resnet18"),
    ("dropout, 32M elements", "dropout/32M"),
    ("batch norm forward, 64x64x56x56", "bn/64x64x56x56"),
    ("batch norm backward, 64x64x56x56", "bn-backward/64x64x56x56"),
    ("training step, 64-64 network, 32 rows of digits", "digits/64-64"),
    ("training step, 256-256 network, 32 rows of digits", "digits/256-256"),
    ("training step, 1024-1024 network, 32 rows of digits", "digits/1024-1024"),
)
# README's rows: one for each kind of work, where other libraries are near and where they are not.
SHORT = (
    "Adam, GPT-2 (124M)",
    "Adam, 300 tensors of 1,000",
    "clip + AdamW + average + zero, ResNet-18",
    "batch norm forward, 64x64x56x56, into new memory",
    "training step, 256-256 network, 32 rows of digits",
)

# Why a peer is faster, and what would cure it: case, peer, reason. The first that matches.
REASONS = (
    (
        "digits/64-64",
        "jax*",
        "one compiled program against some twenty calls, a microsecond or two each; a network compiled as a "
        "whole would cure it",
    ),
    ("digits/1024-1024", "jax*", "XLA's threads share the products; OpenBLAS, NumPy's, gains less from a second core"),
    ("digits/256-256, 200 rows", "jax*", "as above: the products are NumPy's"),
    ("size/1e2", "*", "below a microsecond, a call from Python is all there is: ours checks every array"),
)
AT_BANDWIDTH = 1.1  # times the yardstick's time
LIMIT = "both are at the speed of the yardstick, which memory sets"
UNKNOWN = "no reason found yet"


def publish(path: Path | None, disturbed: bool = False) -> int:
    """Keep the results of a run (None: those that are kept), and write everything that shows them.

    Raises
    ------
    ValueError
        If the file has no results, or results of a disturbed machine and `disturbed` does not allow these.
    """
    document = records.read(KEPT) if path is None else records.reduce(records.read(path))
    if path is not None and not disturbed:
        refuse_disturbed(path, document)
    texts = {
        README: with_block(README.read_text("utf-8"), readme_block(document)),
        TORCH_PAGE: with_block(TORCH_PAGE.read_text("utf-8"), torch_block(document)),
        PAGE: page(document),
    }
    if path is not None:
        KEPT.parent.mkdir(exist_ok=True)
        texts[KEPT] = records.dump(document)
    for file, text in texts.items():
        file.write_text(text, "utf-8")
    written = list(texts)
    if missing(["matplotlib"]):
        print("matplotlib is not installed: the pictures stay as they were")
    else:
        from .pictures import draw

        written += draw(document, PICTURES)
    print("\n".join(f"written: {file.relative_to(ROOT)}" for file in written))
    return 0


def refuse_disturbed(path: Path, document: Mapping[str, Any]) -> None:
    """Raise an error that says what disturbed the run."""
    reasons = document["machine"].get("state", {}).get("disturbed", ["it has no record of that"])
    if reasons:
        raise ValueError(
            f"{path} must be of a quiet machine; got: {'; '.join(reasons)}. Nothing was written. Run again when the "
            "machine is quiet; --disturbed publishes it all the same, and every table says what disturbed it"
        )


def with_block(text: str, block: str) -> str:
    """Put the block between the markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md and docs/torch.md must have the markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{block}\n{END}{after}"


def readme_block(document: Mapping[str, Any]) -> str:
    """Write the short table, and how all comparisons came out."""
    everything = list(records.records(document))
    short = [row for row in rows_of_page(everything) if row[0] in SHORT]
    columns = columns_of(short)
    rows = [row[:2] + row[3:] for label, lines in short if (row := table_row(label, lines, columns))]
    return "\n".join([where(document), "", *table(header(columns), rows), "", *outcome(everything)])


def page_block(document: Mapping[str, Any]) -> str:
    """Write the long table, and how all comparisons came out."""
    everything = list(records.records(document))
    every = rows_of_page(everything)
    columns = columns_of(every)
    rows = [row for label, lines in every if (row := table_row(label, lines, columns))]
    text = (
        "The yardstick is how many times as long fusedstep takes as a kernel that reads and writes the same arrays "
        "and does one addition each (Adam), a copy of as many bytes (layers), or the same formulas in plain NumPy "
        "(training)."
    )
    head = header(columns, "yardstick")
    return "\n".join([where(document), "", text, "", *table(head, rows), "", *outcome(everything)])


def header(columns: Sequence[tuple[str, str]], *more: str) -> tuple[str, ...]:
    return ("float32", "fusedstep", *more, *(f"{label} / fusedstep" for label, _ in columns))


def torch_block(document: Mapping[str, Any]) -> str:
    """Write the times of training loops in PyTorch, every one over ours."""
    lines = [r for r in records.records(document) if r.suite == "torch"]
    if not lines:
        return "The kept results have no training in PyTorch; `python -m bench torch` measures it on your machine."
    names = [name for name in dict.fromkeys(r.name for r in lines) if name != "fusedstep"]
    rows = []
    for case in dict.fromkeys(r.case for r in lines):
        of_case = {r.name: r for r in lines if r.case == case}
        mine = of_case.get("fusedstep")
        time = f"**{report.duration(mine.seconds)}**" if mine and mine.seconds is not None else "-"
        rows.append(
            (f"{case}: {next(iter(of_case.values())).what}", time, *(cell(of_case.get(name)) for name in names))
        )
    busy = report.warning(document["machine"])
    return "\n".join([*([busy, ""] if busy else []), *table(("float32", "fusedstep", *names), rows)])


def table_row(label: str, lines: Sequence[Record], columns: Sequence[tuple[str, str]]) -> tuple[str, ...] | None:
    """Return a row: what it is, our time, our time over the yardstick, and the time of each peer over ours."""
    mine = [r for r in lines if r.mine and r.seconds is not None]
    if not mine:
        return None
    ours = mine[0]
    peers = [fastest(lines, start) for _, start in columns]
    cells = [said(r.over_ours) if r else "-" for r in peers]
    yardstick = report.interval(ours.over_yardstick) if ours.over_yardstick else "-"
    return (label, f"**{report.duration(ours.seconds or 0.0)}**", yardstick, *cells)


def rows_of_page(everything: Sequence[Record]) -> list[Row]:
    """Return what each row is called, and its lines."""
    return [row for label, case in ROWS for row in rows_of(label, [r for r in everything if r.case == case])]


def cell(record: Record | None) -> str:
    if record is None or record.seconds is None or record.over_ours is None:
        return "-"
    return f"{report.duration(record.seconds)} ({said(record.over_ours)})"


def where(document: Mapping[str, Any]) -> str:
    machine = document["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items() if v and k not in ("jaxlib", "fusedstep"))
    busy = report.warning(machine)
    return (
        f"{busy}{' ' * bool(busy)}{machine['cpu']}, {machine['threads']} threads for every library, "
        f"instruction set {machine['isa'][0]}; {versions}. "
        "Each ratio is the time of the other library over the time of fusedstep, with its 95% interval. Fusedstep is "
        "faster or slower if the interval lies on one side of 1."
    )


def outcome(everything: Sequence[Record]) -> list[str]:
    """Count how all comparisons came out, and list every one that we lose, with the reason."""
    timed = [r.over_ours for r in everything if r.is_peer and r.over_ours is not None]
    lost = [r for r in everything if r.is_faster_than_ours]
    head = f"In {len(timed)} comparisons with other libraries, fusedstep is {counted(timed)}."
    listed = [f"- {r.case}: {r.name} takes {said(r.over_ours)}; {reason(r, everything)}." for r in lost]
    return [head, *([""] if lost else []), *listed]


def counted(ratios: Iterable[Ratio]) -> str:
    return ", ".join(f"{word} in {number}" for word, number in count(ratios).items())


def takeaway(lines: Sequence[Record]) -> str:
    """Say what a suite shows of each peer: how the comparisons came out, and the least and the greatest ratio."""
    parts = []
    for label, start in COLUMNS:
        ratios = sorted(r.over_ours for r in lines if r.is_peer and r.name.startswith(start) and r.over_ours)
        if ratios:
            ends = " to ".join(report.interval(r) for r in dict.fromkeys((ratios[0], ratios[-1])))
            parts.append(f"against {label}, fusedstep is {counted(ratios)} ({ends} times as long)")
    return f"**In short:** {'; '.join(parts)}." if parts else ""


def reason(lost: Record, everything: Sequence[Record]) -> str:
    for case, peer, text in REASONS:
        if fnmatch(lost.case, case) and fnmatch(lost.name, peer):
            return text
    mine = [r for r in everything if r.mine and r.case == lost.case and r.over_yardstick]
    near = any(r.over_yardstick is not None and r.over_yardstick[0] <= AT_BANDWIDTH for r in mine)
    return LIMIT if near and lost.suite != "training" else UNKNOWN


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out a table of Markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return [lines[0], "|" + "---|" * len(header), *lines[1:]]


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


def taken(case: Mapping[str, Any]) -> str:
    """Say what other processes took from a case, if that was much."""
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
