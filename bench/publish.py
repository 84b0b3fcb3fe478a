"""README's table, docs/benchmarks.md and its pictures, from the results of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from . import records, report
from .common import missing
from .records import Record

ROOT = Path(__file__).resolve().parents[1]
README, PAGE, PICTURES = ROOT / "README.md", ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks"
TORCH_PAGE = ROOT / "docs" / "torch.md"
BEGIN, END = "<!-- bench: written by `python -m bench report` -->", "<!-- bench: end -->"

# README's rows: what to call them, and their cases.
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
# README's columns: what to call them, and how the names of their lines begin; of several, the fastest counts.
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
    document = records.read(records.KEPT) if path is None else records.reduce(records.read(path))
    texts = {
        README: with_block(README.read_text("utf-8"), readme_block(document)),
        TORCH_PAGE: with_block(TORCH_PAGE.read_text("utf-8"), torch_block(document)),
        PAGE: page(document),
    }
    if path is not None:
        records.KEPT.parent.mkdir(exist_ok=True)
        texts[records.KEPT] = records.dump(document)
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
    """Write the table and what is slower than a peer."""
    everything = list(records.records(document))
    rows = [row for label, lines in readme_lines(everything) if (row := readme_row(label, lines))]
    header = ("float32", "fusedstep", "time / yardstick", *(label for label, _ in COLUMNS))
    return "\n".join([where(document), "", *table(header, rows), "", *slower(everything)])


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


def readme_row(label: str, lines: Sequence[Record]) -> tuple[str, ...] | None:
    mine = [r for r in lines if r.mine and r.seconds is not None]
    if not mine:
        return None
    ours = mine[0]
    cells = [cell(fastest(r for r in lines if r.name.startswith(start))) for _, start in COLUMNS]
    yardstick = report.significant(ours.over_yardstick[0]) if ours.over_yardstick else "-"
    return (label, f"**{report.duration(ours.seconds or 0.0)}**", yardstick, *cells)


def readme_lines(everything: Sequence[Record]) -> Iterator[tuple[str, list[Record]]]:
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
    return f"{report.duration(record.seconds)} ({report.significant(record.over_ours[0])} x)"


def where(document: Mapping[str, Any]) -> str:
    machine = document["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items() if v and k not in ("jaxlib", "fusedstep"))
    busy = report.warning(machine)
    return (
        f"{busy}{' ' * bool(busy)}{machine['cpu']}, {machine['threads']} threads for everybody, "
        f"instruction set {machine['isa'][0]}; {versions}. "
        "Medians of interleaved rounds; in brackets the time over ours. The yardstick is a kernel that reads and "
        "writes the same arrays and does one addition each (Adam), a copy of as many bytes (layers), or the same "
        "formulas in plain NumPy (training)."
    )


def slower(everything: Sequence[Record]) -> list[str]:
    """List every comparison that we lose, with the reason."""
    timed = sum(r.is_peer and r.over_ours is not None for r in everything)
    lost = [r for r in everything if r.is_faster_than_ours]
    if not lost:
        return [f"In none of {timed} comparisons is a peer faster beyond the 95% interval."]
    head = f"A peer is faster, beyond the 95% interval, in {len(lost)} of {timed} comparisons:"
    return [head, "", *(f"- {r.case}: {r.name} takes {ratio(r)} of our time; {reason(r, everything)}." for r in lost)]


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
        readme_block(document),
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
        parts.append(f"## {suite}")
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
