"""Draw the picture of a run: the times of other libraries divided by fusedstep's time, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._base.optional import need
from .rows import FLOOR, Row, columns_of, fastest
from .verdicts import EQUAL, verdict

SPEEDUP = "Time of other libraries divided by the time of fusedstep, with 95% intervals"
COLOURS = {
    "fusedstep": "#d1495b",
    "roofline": "#8d99ae",
    "torch": "#edae49",
    "jax": "#00798c",
    "numba": "#30638e",
    "scikit-learn": "#66a182",
    "numpy": "#a0a0a0",
    "deepspeed": "#9b5de5",
    "bitsandbytes": "#6d4c41",
    "TorchAO": "#f28482",
}


def colour(name: str) -> str:
    return next((c for start, c in COLOURS.items() if name.startswith(start)), "black")


def speedup(figure: Any, rows: Sequence[Row], columns: Sequence[tuple[str, str]]) -> bool:
    """Draw a point with its interval for each library in each row. If the interval contains 1, the point is hollow."""
    axes = figure.subplots()
    seen: dict[str, str] = {}
    for height, (_, lines) in enumerate(rows):
        for column, start in columns:
            r = fastest(lines, start)
            if r is None or r.over_ours is None:
                continue
            middle, low, high = r.over_ours
            axes.errorbar(
                middle,
                height,
                xerr=[[middle - low], [high - middle]],
                fmt="o",
                color=colour(start),
                markerfacecolor="white" if verdict(r.over_ours) == EQUAL else colour(start),
            )
            seen[column] = colour(start)
    axes.axvline(1, color=COLOURS["fusedstep"], linewidth=2)
    axes.set(xscale="log")
    text = "right of the line: fusedstep is faster; left: slower\nhollow: equal within the interval"
    axes.set_xlabel(f"times as long as fusedstep\n{text}", fontsize=8)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    for column, own in seen.items():
        axes.plot([], [], "o", color=own, label=column)
    if seen:
        figure.legend(loc="outside lower center", ncols=len(seen), frameon=False, fontsize=8)
    return bool(rows)


def draw(rows: Sequence[Row], file: Path) -> bool:
    """Write the picture of the rows. If there are no rows, write no file, and return False.

    Raises
    ------
    MissingPackage
        If Matplotlib is not installed.
    """
    figure = need("matplotlib.figure", "Matplotlib", "bench").Figure(
        figsize=(9, 1.5 + 0.3 * len(rows)), layout="constrained", dpi=110
    )
    if not speedup(figure, rows, [*columns_of(rows), FLOOR]):
        return False
    figure.suptitle(SPEEDUP)
    figure.savefig(file)
    return True
