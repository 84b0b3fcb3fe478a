"""Make the rows of tables and pictures. Each library has a column with the time of its fastest variant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .records import Record

# Columns: (name of the column, start of the names of its lines). If several lines match, the fastest is shown.
COLUMNS = (
    ("torch", "torch"),
    ("JAX", "jax"),
    ("numba", "numba"),
    ("scikit-learn", "scikit-learn"),
    ("DeepSpeed", "deepspeed"),
    ("bitsandbytes", "bitsandbytes"),
    ("TorchAO", "TorchAO"),
)
FLOOR = ("NumPy", "numpy")  # the column of plain NumPy code, as a user writes it
# End of a line's name -> kind of output. If a case has several kinds, each kind has a row.
KINDS = {", out": "into given memory", ", new": "into new memory"}
Row = tuple[str, list[Record]]  # name of the row, and the results that it shows


def rows_of(label: str, lines: Sequence[Record]) -> list[Row]:
    """Return a row for each kind of output in the lines of a case. All times in a row have the same kind of output."""
    kinds = [kind for kind in KINDS if any(r.mine and r.name.endswith(kind) for r in lines)]
    split = [(f"{label}, {KINDS[kind]}", [r for r in lines if r.name.endswith(kind)]) for kind in kinds]
    return split or ([(label, list(lines))] if lines else [])


def fastest(lines: Iterable[Record], start: str) -> Record | None:
    """Of the lines whose names start with `start`, return the line with the smallest time / our time."""
    timed = [r for r in lines if r.name.startswith(start) and r.over_ours is not None]
    return min(timed, key=lambda r: r.over_ours[0] if r.over_ours else 0.0, default=None)


def columns_of(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Return the columns that have a figure in any of the rows."""
    every = [line for _, lines in rows for line in lines]
    return [column for column in COLUMNS if fastest(every, column[1])]
