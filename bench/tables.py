"""Make the tables of README and docs/torch.md, and the table at the head of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from fusedstep._bench import records, report
from fusedstep._bench.records import Record
from fusedstep._bench.rows import Row, columns_of, fastest, rows_of
from fusedstep._bench.verdicts import outcome as outcome_of
from fusedstep._bench.verdicts import said

# Rows of the first table of docs/benchmarks.md and of the picture "speedup": (name of the row, name of the case).
ROWS = (
    ("Adam, one tensor of 50M", "adam/50M"),
    ("Adam, one tensor of 250,000", "adam/250k"),
    ("Adam, 300 tensors of 1,000", "adam/300x1000"),
    ("Adam, the six tensors of a 64-64-64-10 network", "adam/mlp"),
    ("Adam, ResNet-18", "adam/resnet18"),
    ("Adam, GPT-2 (124M)", "adam/gpt2"),
    ("Adam with states of 8 bits, one tensor of 8M", "8bit/8M"),
    ("AdamW with clipping, weight average and zeroed gradients, 300 tensors of 1,000", "full/300x1000"),
    ("AdamW with clipping, weight average and zeroed gradients, ResNet-18", "full/resnet18"),
    ("dropout, 32M elements", "dropout/32M"),
    ("batch norm forward, 64x64x56x56", "bn/64x64x56x56"),
    ("batch norm backward, 64x64x56x56", "bn-backward/64x64x56x56"),
    ("dropout, 32M elements of bfloat16", "dropout/32M-bfloat16"),
    ("batch norm forward, 64x64x56x56, bfloat16", "bn/64x64x56x56-bfloat16"),
    ("batch norm backward, 64x64x56x56, bfloat16", "bn-backward/64x64x56x56-bfloat16"),
    ("training step, 64-64 network, 32 rows of digits", "digits/64-64"),
    ("training step, 256-256 network, 32 rows of digits", "digits/256-256"),
    ("training step, 1024-1024 network, 32 rows of digits", "digits/1024-1024"),
)
# Rows of README's table: one for each kind of work, also for work in which other libraries are nearly as fast.
SHORT = (
    "Adam, GPT-2 (124M)",
    "Adam, 300 tensors of 1,000",
    "AdamW with clipping, weight average and zeroed gradients, ResNet-18",
    "batch norm forward, 64x64x56x56, into new memory",
    "training step, 256-256 network, 32 rows of digits",
)

NAMES = {"v4": "v4 (AVX-512)", "v3": "v3 (AVX2)"}
NOT_IN_README = ("ml_dtypes", "deepspeed", "bitsandbytes", "torchao")  # packages without a column in README's table

# Reasons why another library is faster than fusedstep, whose training steps use the matrix products of OpenBLAS:
# (pattern of cases, pattern of libraries, reason). The first match is used.
REASONS = (
    (
        "digits/64-64",
        "jax*",
        "JAX compiles the whole training step into one program. With fusedstep, a training step is about twenty calls "
        "from Python, and each call takes one or two microseconds",
    ),
    ("digits/1024-1024", "jax*", "Two threads speed up JAX's matrix products more than OpenBLAS's"),
    ("digits/256-256, 200 rows", "jax*", "Two threads speed up JAX's matrix products more than OpenBLAS's"),
    ("size/1e2", "*", "The call from Python takes nearly all of the time, because fusedstep checks every array"),
    (
        "bn*16",
        "torch*",
        "The conversion to and from 16 bits takes longer than reading and writing the memory "
        "([decision 11](adr/0011-half-precision.md))",
    ),
)
AT_BANDWIDTH = 1.1  # if our time / the yardstick's time is at most this number, the memory limits the speed
LIMIT = "The memory limits the speed of both libraries, as it limits the speed of the yardstick"
UNKNOWN = "No reason has been found yet"


def readme_block(document: Mapping[str, Any]) -> str:
    """Return README's text: the short table, and the verdicts of all comparisons."""
    everything = list(records.records(document))
    short = [row for row in rows_of_page(everything) if row[0] in SHORT]
    columns = columns_of(short)
    rows = [row[:2] + row[3:] for label, lines in short if (row := table_row(label, lines, columns))]
    text = where(document, others=NOT_IN_README)
    head, *lost = outcome(everything)
    return "\n".join([head, "", *table(header(columns), rows), *lost, "", text])


def page_block(document: Mapping[str, Any]) -> str:
    """Return the head of docs/benchmarks.md: the long table, and the verdicts of all comparisons."""
    everything = list(records.records(document))
    every = rows_of_page(everything)
    columns = columns_of(every)
    rows = [row for label, lines in every if (row := table_row(label, lines, columns))]
    text = (
        "The column `fusedstep / yardstick` shows the time of fusedstep divided by the time of a yardstick. A "
        "yardstick is simple code that does comparable work. For optimizers, the yardstick is a compiled loop that "
        "reads and writes as many bytes as the step, and only adds numbers. For layers, the yardstick is a copy that "
        "reads and writes as many bytes as the layer. For training steps, the yardstick is the same formulas in plain "
        "NumPy. A dash in this column means that the task has no yardstick.\n\n"
        '"Into given memory" means that the caller allocates the memory for the result. "Into new memory" means that '
        "the call allocates it."
    )
    head = header(columns, "fusedstep / yardstick")
    return "\n".join([where(document), "", text, "", *table(head, rows), "", *outcome(everything)])


def header(columns: Sequence[tuple[str, str]], *more: str) -> tuple[str, ...]:
    return ("task (float32 unless stated)", "fusedstep", *more, *(f"{label} / fusedstep" for label, _ in columns))


def torch_block(document: Mapping[str, Any]) -> str:
    """Return the table of docs/torch.md: the times of training loops in PyTorch, and their ratios to our time."""
    lines = [r for r in records.records(document) if r.suite == "torch"]
    if not lines:
        return "The stored results contain no training in PyTorch. `python -m bench torch` measures such trainings."
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
    return "\n".join([*([busy, ""] if busy else []), *table(("task (float32)", "fusedstep", *names), rows)])


def table_row(label: str, lines: Sequence[Record], columns: Sequence[tuple[str, str]]) -> tuple[str, ...] | None:
    """Return a row: its name, our time, our time / the yardstick's time, and each other library's time / our time."""
    mine = [r for r in lines if r.mine and r.seconds is not None]
    if not mine:
        return None
    ours = mine[0]
    peers = [fastest(lines, start) for _, start in columns]
    cells = [said(r.over_ours) if r else "-" for r in peers]
    yardstick = report.interval(ours.over_yardstick) if ours.over_yardstick else "-"
    return (label, f"**{report.duration(ours.seconds or 0.0)}**", yardstick, *cells)


def rows_of_page(everything: Sequence[Record]) -> list[Row]:
    """Return the rows of the first table of docs/benchmarks.md: the name of each row, and its results."""
    return [row for label, case in ROWS for row in rows_of(label, [r for r in everything if r.case == case])]


def cell(record: Record | None) -> str:
    if record is None or record.seconds is None or record.over_ours is None:
        return "-"
    return f"{report.duration(record.seconds)} ({said(record.over_ours)})"


def where(document: Mapping[str, Any], others: Sequence[str] = ()) -> str:
    """Return a text on the machine, the versions of all libraries except `others`, and the meaning of the figures."""
    machine, others = document["machine"], ("jaxlib", "fusedstep", *others)
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items() if v and k not in others)
    busy, level = report.warning(machine), machine["isa"][0]
    return (
        f"{busy}{' ' * bool(busy)}The CPU of the measurements was {machine['cpu']}. Every library used "
        f"{machine['threads']} threads. fusedstep used the instruction set {NAMES.get(level, level)}. "
        f"The versions were {versions}. "
        "A ratio is the time of another library divided by the time of fusedstep. If the ratio is 2, the other "
        "library takes twice as long as fusedstep. The brackets contain the 95% interval of the ratio. After the "
        'brackets, "faster" means that fusedstep is faster, and "slower" means that fusedstep is slower. If the '
        "interval contains 1, neither library is clearly faster: they are equal within the interval. If a library has "
        "several variants, for "
        "example torch with `foreach=True` or `fused=True`, the fastest variant is shown. JAX's functions are "
        "compiled, and JAX's optimizers are from optax. A dash means that the library was not measured for this "
        "task. A tensor of 1,000 has 1,000 elements."
    )


def outcome(everything: Sequence[Record]) -> list[str]:
    """Return the number of each verdict, and a list of the cases in which another library is faster, with reasons."""
    timed = [r.over_ours for r in everything if r.is_peer and r.over_ours is not None]
    lost = [r for r in everything if r.is_faster_than_ours]
    head = f"The table shows a part of the results. {outcome_of('other libraries', timed)}"
    listed = [
        f"- {r.case}: {r.name} takes {report.interval(r.over_ours)} times as long as fusedstep. "
        f"{reason(r, everything)}."
        for r in lost
        if r.over_ours
    ]
    return [head, *([""] if lost else []), *listed]


def reason(lost: Record, everything: Sequence[Record]) -> str:
    for case, peer, text in REASONS:
        if fnmatch(lost.case, case) and fnmatch(lost.name, peer):
            return text
    mine = [r for r in everything if r.mine and r.case == lost.case and r.over_yardstick]
    near = any(r.over_yardstick is not None and r.over_yardstick[0] <= AT_BANDWIDTH for r in mine)
    return LIMIT if near and lost.suite != "training" else UNKNOWN


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return [lines[0], "|" + "---|" * len(header), *lines[1:]]
