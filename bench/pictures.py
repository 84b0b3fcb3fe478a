"""The pictures of docs/benchmarks.md."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusedstep._bench import records
from fusedstep._bench.records import Record

TITLES = {
    "bandwidth": "Bandwidth of an Adam step against its size",
    "speedup": "Time of other libraries over the time of fusedstep, with 95% intervals",
    "threads": "Speed against the number of threads",
}
COLOURS = {
    "fusedstep": "#d1495b",
    "roofline": "#8d99ae",
    "torch": "#edae49",
    "jax": "#00798c",
    "numba": "#30638e",
    "scikit-learn": "#66a182",
    "numpy": "#a0a0a0",
    "deepspeed": "#9b5de5",
}


def colour(name: str) -> str:
    return next((c for start, c in COLOURS.items() if name.startswith(start)), "black")


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write every picture that the results have figures for."""
    figure_of = importlib.import_module("matplotlib.figure").Figure
    everything = [r for r in records.records(document) if r.seconds is not None]
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, paint in (("bandwidth", bandwidth), ("speedup", speedup), ("threads", threads)):
        figure = figure_of(figsize=(8, 4.5), layout="constrained", dpi=110)
        if paint(figure, everything, document):
            figure.suptitle(TITLES[name])
            written.append(folder / f"{name}.png")
            figure.savefig(written[-1])
    return written


def bandwidth(figure: Any, everything: Sequence[Record], document: Mapping[str, Any]) -> bool:
    """Bandwidth against size, with the roofline of the same run."""
    sizes = {case["name"]: case["elements"] for case in document["cases"] if case["name"].startswith("size/")}
    lines = [r for r in everything if r.case in sizes]
    if not lines:
        return False
    axes = figure.subplots()
    for name in dict.fromkeys(r.name for r in lines):
        points = sorted((sizes[r.case], r.gb_s) for r in lines if r.name == name)
        style = {"color": colour(name), "label": name}
        if name == "roofline":
            axes.fill_between(*zip(*points, strict=True), color=style["color"], alpha=0.25, linewidth=0, label=name)
        else:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, linewidth=2, **style)
    axes.set(xscale="log", yscale="log", xlabel="parameters", ylabel="GB/s (28 bytes per parameter)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return True


def speedup(figure: Any, everything: Sequence[Record], document: Mapping[str, Any]) -> bool:
    """Draw one row per case of the table, and one point with its interval per peer."""
    from .publish import COLUMNS, fastest, lines_of_rows

    axes = figure.subplots()
    labels: list[str] = []
    seen: set[str] = set()
    for label, lines in lines_of_rows(everything):
        for column, start in COLUMNS:
            r = fastest(x for x in lines if x.name.startswith(start))
            if r is None or r.over_ours is None:
                continue
            middle, low, high = r.over_ours
            new = column not in seen
            seen.add(column)
            axes.errorbar(
                middle,
                len(labels),
                xerr=[[middle - low], [high - middle]],
                fmt="o",
                color=colour(start),
                label=column if new else None,
            )
        labels.append(label)
    axes.axvline(1, color=COLOURS["fusedstep"], linewidth=2)
    axes.set(xscale="log", xlabel="times as long as fusedstep (right of the line: fusedstep is faster)")
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    if seen:
        figure.legend(loc="outside lower center", ncols=len(seen), frameon=False, fontsize=8)
    return bool(labels)


def threads(figure: Any, everything: Sequence[Record], document: Mapping[str, Any]) -> bool:
    """One panel per size: speed relative to ours on one thread."""
    cases = dict.fromkeys(r.case for r in everything if r.case.startswith("threads/"))
    if not cases:
        return False
    panels = figure.subplots(1, len(cases), sharey=True, squeeze=False)[0]
    for axes, case in zip(panels, cases, strict=True):
        lines = {r.name: r for r in everything if r.case == case}
        one = lines["fusedstep @1"].seconds if "fusedstep @1" in lines else None
        for name in dict.fromkeys(key.partition(" @")[0] for key in lines):
            mine = [(int(key.partition(" @")[2]), r.seconds) for key, r in lines.items() if key.startswith(f"{name} @")]
            points = [(n, one / s) for n, s in mine if one and s]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", color=colour(name), label=name)
        axes.set(title=case.removeprefix("threads/"), xlabel="threads", yscale="log")
        axes.set_xticks(sorted({int(key.partition(" @")[2]) for key in lines}))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("speed over ours on one thread")
    panels[0].legend(frameon=False, fontsize=8)
    return True
