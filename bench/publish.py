"""Write README's table, docs/benchmarks.md and its pictures from the results of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from typing import Any

from fusedstep._bench import records, report
from fusedstep._bench.common import missing
from fusedstep._bench.records import Record

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
    ("clip + AdamW + average + zero, 300 tensors of 1,000", "full/300x1000"),
    ("clip + AdamW + average + zero, ResNet-18", "full/resnet18"),
    ("dropout, 32M elements", "dropout/32M"),
    ("batch norm forward, 64x64x56x56", "bn/64x64x56x56"),
    ("batch norm backward, 64x64x56x56", "bn-backward/64x64x56x56"),
    ("training step, 64-64 network, 32 rows of digits", "digits/64-64"),
    ("training step, 256-256 network, 32 rows of digits", "digits/256-256"),
    ("training step, 1024-1024 network, 32 rows of digits", "digits/1024-1024"),
)
# Kinds of output, by the end of a line's name; a case that has them has a row for each.
KINDS = {", out": "into given memory", ", new": "into new memory"}
# README's rows: one for each kind of work, where other libraries are near and where they are not.
SHORT = (
    "Adam, GPT-2 (124M)",
    "Adam, 300 tensors of 1,000",
    "clip + AdamW + average + zero, ResNet-18",
    "batch norm forward, 64x64x56x56, into new memory",
    "training step, 256-256 network, 32 rows of digits",
)
# Columns: what to call them, and how the names of their lines begin; of several, the fastest counts.
COLUMNS = (("torch", "torch"), ("JAX", "jax"), ("numba", "numba"), ("scikit-learn", "scikit-learn"))

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


def publish(path: Path | None) -> int:
    """Keep the results of a run (None: those that are kept), and write everything that shows them."""
    document = records.read(KEPT) if path is None else records.reduce(records.read(path))
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
    rows = [
        row[:2] + row[3:]
        for label, lines in lines_of_rows(everything)
        if label in SHORT and (row := table_row(label, lines))
    ]
    header = ("float32", "fusedstep", *(f"{label} / fusedstep" for label, _ in COLUMNS))
    return "\n".join([where(document), "", *table(header, rows), "", *verdict(everything)])


def page_block(document: Mapping[str, Any]) -> str:
    """Write the long table, and how all comparisons came out."""
    everything = list(records.records(document))
    rows = [row for label, lines in lines_of_rows(everything) if (row := table_row(label, lines))]
    header = ("float32", "fusedstep", "yardstick", *(f"{label} / fusedstep" for label, _ in COLUMNS))
    text = (
        "The yardstick is how many times as long fusedstep takes as a kernel that reads and writes the same arrays "
        "and does one addition each (Adam), a copy of as many bytes (layers), or the same formulas in plain NumPy "
        "(training)."
    )
    return "\n".join([where(document), "", text, "", *table(header, rows), "", *verdict(everything)])


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


def table_row(label: str, lines: Sequence[Record]) -> tuple[str, ...] | None:
    """Return a row: what it is, our time, our time over the yardstick, and the time of each peer over ours."""
    mine = [r for r in lines if r.mine and r.seconds is not None]
    if not mine:
        return None
    ours = mine[0]
    peers = [fastest(r for r in lines if r.name.startswith(start)) for _, start in COLUMNS]
    cells = [report.interval(r.over_ours) if r and r.over_ours else "-" for r in peers]
    yardstick = report.interval(ours.over_yardstick) if ours.over_yardstick else "-"
    return (label, f"**{report.duration(ours.seconds or 0.0)}**", yardstick, *cells)


def lines_of_rows(everything: Sequence[Record]) -> Iterator[tuple[str, list[Record]]]:
    """Yield what each row is called and its lines, which make outputs of one kind: their ratios are of those times."""
    for label, case in ROWS:
        lines = [r for r in everything if r.case == case]
        kinds = [kind for kind in KINDS if any(r.mine and r.name.endswith(kind) for r in lines)]
        for kind in kinds:
            yield f"{label}, {KINDS[kind]}", [r for r in lines if r.name.endswith(kind)]
        if lines and not kinds:
            yield label, lines


def fastest(lines: Iterable[Record]) -> Record | None:
    """Return the line with the smallest time over ours."""
    timed = [r for r in lines if r.over_ours is not None]
    return min(timed, key=lambda r: r.over_ours[0] if r.over_ours else 0.0, default=None)


def cell(record: Record | None) -> str:
    if record is None or record.seconds is None or record.over_ours is None:
        return "-"
    return f"{report.duration(record.seconds)} ({report.interval(record.over_ours)})"


def where(document: Mapping[str, Any]) -> str:
    machine = document["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items() if v and k not in ("jaxlib", "fusedstep"))
    busy = report.warning(machine)
    return (
        f"{busy}{' ' * bool(busy)}{machine['cpu']}, {machine['threads']} threads for every library, "
        f"instruction set {machine['isa'][0]}; {versions}. "
        "Each ratio is the time of the other library over the time of fusedstep, with its 95% interval: above 1 "
        "fusedstep is faster, and an interval that contains 1 shows no difference."
    )


def verdict(everything: Sequence[Record]) -> list[str]:
    """Count how all comparisons came out, and list every one that we lose, with the reason."""
    timed = [r.over_ours for r in everything if r.is_peer and r.over_ours is not None]
    lost = [r for r in everything if r.is_faster_than_ours]
    won = sum(low > 1 for _, low, _ in timed)
    head = (
        f"In {len(timed)} comparisons with other libraries, fusedstep is faster in {won} and the other library in "
        f"{len(lost)}; in {len(timed) - won - len(lost)} the interval contains 1."
    )
    listed = [f"- {r.case}: {r.name} takes {ratio(r)} of our time; {reason(r, everything)}." for r in lost]
    return [head, *([""] if lost else []), *listed]


def takeaway(lines: Sequence[Record]) -> str:
    """Say what a suite shows of each peer: how many comparisons, and the median and the range of their ratios."""
    parts = []
    for label, start in COLUMNS:
        ratios = [r.over_ours[0] for r in lines if r.is_peer and r.name.startswith(start) and r.over_ours]
        if ratios:
            middle, low, high = (report.significant(x) for x in (median(ratios), min(ratios), max(ratios)))
            parts.append(
                f"{label} takes {middle} times as long as fusedstep (median of {len(ratios)}; {low} to {high})"
            )
    return f"**In short:** {'; '.join(parts)}." if parts else ""


def ratio(r: Record) -> str:
    assert r.over_ours is not None
    return report.interval(r.over_ours)


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
    header = ("implementation", "time", "GB/s", "time / yardstick", "time / ours")
    parts = []
    for suite in dict.fromkeys(r.suite for r in everything):
        about = next((s.about for s in SUITES if s.name == suite), "")
        parts.append(f"## {suite}: {about}" if about else f"## {suite}")
        if text := takeaway([r for r in everything if r.suite == suite]):
            parts.append(text)
        for case in (case for case in document["cases"] if case["suite"] == suite):
            lines = [r for r in everything if (r.suite, r.case) == (suite, case["name"])]
            rows = [page_row(r) for r in lines]
            yardstick = f"; yardstick: {case['yardstick']}" if case["yardstick"] else ""
            parts += [f"### {case['name']}\n\n{case['what']}{yardstick}"]
            parts.append("\n".join(table(header, rows)))
    return parts


def page_row(r: Record) -> tuple[str, ...]:
    if r.seconds is None:
        return (r.name, r.status, "", "", "")
    bandwidth = report.significant(r.gb_s) if r.gb_s else "-"
    ratios = (report.interval(x) if x else "-" for x in (r.over_yardstick, r.over_ours))
    return (r.name, report.duration(r.seconds), bandwidth, *ratios)
