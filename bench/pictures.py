"""Draw the pictures of docs/benchmarks.md."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusedstep._bench import records, rows
from fusedstep._bench.pictures import SPEEDUP, colour, speedup
from fusedstep._bench.records import Record

from .tables import rows_of_page

TITLES = {
    "bandwidth": "Bandwidth of an Adam step for different numbers of parameters",
    "speedup": SPEEDUP,
    "threads": "Time of an Adam step for different numbers of threads",
}


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write every picture for which the results have figures. Return the paths of the written files."""
    figure_of = importlib.import_module("matplotlib.figure").Figure
    everything = [r for r in records.records(document) if r.seconds is not None]
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, paint in (("bandwidth", bandwidth), ("speedup", peers), ("threads", threads)):
        figure = figure_of(figsize=(8, 4.5), layout="constrained", dpi=110)
        if paint(figure, everything, document):
            figure.suptitle(TITLES[name])
            written.append(folder / f"{name}.png")
            figure.savefig(written[-1])
    return written


def bandwidth(figure: Any, everything: Sequence[Record], document: Mapping[str, Any]) -> bool:
    """Draw the bandwidth over the number of parameters, for each library and for the roofline.

    The roofline is the bandwidth of a kernel with the same memory traffic and almost no arithmetic.
    """
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


def peers(figure: Any, everything: Sequence[Record], document: Mapping[str, Any]) -> bool:
    """Draw the ratios of the first table of docs/benchmarks.md, one line of the picture for each row of the table."""
    shown = rows_of_page(everything)
    return speedup(figure, shown, rows.columns_of(shown))


def threads(figure: Any, everything: Sequence[Record], document: Mapping[str, Any]) -> bool:
    """Draw the time of an Adam step over the number of threads, with one panel for each size of the tensors."""
    cases = dict.fromkeys(r.case for r in everything if r.case.startswith("threads/"))
    if not cases:
        return False
    panels = figure.subplots(1, len(cases), sharey=True, squeeze=False)[0]
    for axes, case in zip(panels, cases, strict=True):
        lines = {r.name: r for r in everything if r.case == case}
        for name in dict.fromkeys(key.partition(" @")[0] for key in lines):
            mine = [(int(key.partition(" @")[2]), r.seconds) for key, r in lines.items() if key.startswith(f"{name} @")]
            points = [(n, 1e6 * s) for n, s in mine if s]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", color=colour(name), label=name)
        axes.set(title=case.removeprefix("threads/"), xlabel="threads", yscale="log")
        axes.set_xticks(sorted({int(key.partition(" @")[2]) for key in lines}))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("us")
    panels[0].legend(frameon=False, fontsize=8)
    return True
