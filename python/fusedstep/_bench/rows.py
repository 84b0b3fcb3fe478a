"""Rows of tables and pictures of results: a column per library, with the fastest of its forms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .records import Record

# Columns: what to call them, and how the names of their lines begin; of several, the fastest counts.
COLUMNS = (
    ("torch", "torch"),
    ("JAX", "jax"),
    ("numba", "numba"),
    ("scikit-learn", "scikit-learn"),
    ("DeepSpeed", "deepspeed"),
    ("bitsandbytes", "bitsandbytes"),
    ("TorchAO", "TorchAO"),
)
FLOOR = ("NumPy", "numpy")  # the user's own code
# Kinds of output, by the end of a line's name. A case with several kinds has a row for each.
KINDS = {", out": "into given memory", ", new": "into new memory"}
Row = tuple[str, list[Record]]  # name of the row, and its lines


def rows_of(label: str, lines: Sequence[Record]) -> list[Row]:
    """Return a row for each kind of output of a case. A row compares only times of this kind."""
    kinds = [kind for kind in KINDS if any(r.mine and r.name.endswith(kind) for r in lines)]
    split = [(f"{label}, {KINDS[kind]}", [r for r in lines if r.name.endswith(kind)]) for kind in kinds]
    return split or ([(label, list(lines))] if lines else [])


def fastest(lines: Iterable[Record], start: str) -> Record | None:
    """Return the line of a library with the smallest ratio to our time."""
    timed = [r for r in lines if r.name.startswith(start) and r.over_ours is not None]
    return min(timed, key=lambda r: r.over_ours[0] if r.over_ours else 0.0, default=None)


def columns_of(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Return the columns that have a figure in any of the rows."""
    every = [line for _, lines in rows for line in lines]
    return [column for column in COLUMNS if fastest(every, column[1])]
