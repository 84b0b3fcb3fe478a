"""Turn the columns of a table into the inputs of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from .._base.optional import need
from ._kinds import Column, Frame, Series, decide
from ._values import as_dates, as_numbers, as_texts
from .errors import TableError

Array = npt.NDArray[Any]

# A category has its own output if at least FEWEST_ROWS rows have it. A column has at most MOST_CATEGORIES such outputs.
MOST_CATEGORIES, FEWEST_ROWS = 30, 3
DATE_PARTS = {
    "days": lambda t: (t - np.datetime64("1970-01-01")).dt.total_seconds() / 86400,
    "month": lambda t: t.dt.month,
    "weekday": lambda t: t.dt.day_of_week,
    "hour": lambda t: t.dt.hour + t.dt.minute / 60,
}
SHOWN = 40  # if there are more columns, `Columns.table` puts columns with equal conversions into one row


class Columns:
    """The conversion of each column of a table into inputs of a network, fitted to the training rows.

    A column is turned into numbers, which are called its outputs. The outputs of all columns are the inputs of the
    network. The outputs of a column depend on its kind::

        number     the number, or the median of the training rows if the number is missing
        category   one output per category: 1 in the rows of this category, else 0
        date       days since 1970, month, weekday; also the hour if the dates have times
        left out   no output

    At most 30 categories of a column have an output of their own. These are the most frequent categories that occur in
    at least 3 training rows. If no category occurs in 3 training rows, they are the most frequent of all categories.
    The other categories share one output.

    If cells of a column are missing in the training rows, the column has one more output: 1 where the cell is missing,
    else 0.

    These rules have one exception, for a column with exactly two categories and no missing cells in the training rows.
    If by the rules both categories would have an output of their own, the column has only the output of the less
    frequent category.

    Parameters
    ----------
    columns : list of Column
        The kind and the fitted values of each column. `fit` makes this list.

    Examples
    --------
    >>> import pandas
    >>> frame = pandas.DataFrame({"rooms": [1, None, 3, 4], "plan": ["a", "b", None, "b"], "id": ["k", "l", "m", "n"]})
    >>> columns = Columns.fit(frame, drop=["id"])
    >>> columns.outputs
    ['rooms', 'rooms is missing', 'plan=b', 'plan=a', 'plan is missing']
    >>> columns.transform(frame.iloc[1:2, ::-1])  # the order of the columns does not matter
    array([[3., 1., 1., 0., 0.]])
    """

    def __init__(self, columns: list[Column]) -> None:
        self.columns = columns
        self.used = [column for column in columns if column.kind != "left out"]
        self.outputs = [output for column in self.used for output in _outputs(column)]

    @classmethod
    def fit(
        cls,
        frame: Frame,
        rows: Array | slice = slice(None),
        *,
        drop: Collection[str] = (),
        categorical: Collection[str] = (),
        numeric: Collection[str] = (),
    ) -> Columns:
        """Decide the kinds of the columns, and compute medians and categories.

        Parameters
        ----------
        frame : pandas.DataFrame
            The table without the target. The kind of a column is decided from all its rows.
        rows : ndarray of integers or slice
            The training rows, from which medians and categories are computed. By default all rows.
        drop, categorical, numeric : collections of str
            Names of the columns to leave out, to use as categories, and to use as numbers.

        Raises
        ------
        TableError
            If the table does not have a column that `drop`, `categorical` or `numeric` contains, if two of these
            contain the same column, or if columns cannot be used. The message has the names of all columns that cannot
            be used.
        """
        kinds = decide(frame, drop, categorical, numeric)
        training, dtypes = frame.iloc[rows], dict(frame.dtypes)
        plain = [c.name for c in kinds if c.kind == "number" and dtypes[c.name].kind in "iuf"]
        medians, gone = _learn_numbers(training[plain], frame[plain])
        learnt = []
        for column in kinds:
            if column.name in medians:
                fill, missing = medians[column.name], gone[column.name]
                learnt.append(dataclasses.replace(column, fill=fill, missing=missing))
            else:
                learnt.append(_learn(column, training))
        return cls(learnt)

    def transform(self, frame: Frame) -> Array:
        """Return the inputs of the network in float64, one row for each row of the table.

        Raises
        ------
        TableError
            If the table lacks a column from which inputs are computed, or has a column that the table given to `fit`
            did not have. The message has the names of such columns.
        """
        self.check_names(frame)
        X = np.empty((len(frame), len(self.outputs)))
        widths = [len(_outputs(column)) for column in self.used]
        starts = np.cumsum([0, *widths])[:-1].tolist()
        plain, dtypes = [], dict(frame.dtypes)
        for column, start, width in zip(self.used, starts, widths, strict=True):
            if column.kind == "number" and dtypes[column.name].kind in "iuf":
                plain.append((column, start))
            else:
                X[:, start : start + width] = _inputs(column, frame[column.name])
        _put_numbers(X, frame, plain)
        return X

    def check_names(self, frame: Frame, extra_ok: Collection[str] = ()) -> None:
        """Refuse a table that lacks columns or has additional columns. Columns in `extra_ok` are allowed."""
        there = set(frame.columns)
        missing = [column.name for column in self.used if column.name not in there]
        known = {column.name for column in self.columns} | set(extra_ok)
        extra = [str(name) for name in frame.columns if name not in known]
        parts = [f"it lacks {_listed(missing)}"] * bool(missing) + [f"it also has {_listed(extra)}"] * bool(extra)
        if parts:
            raise TableError(
                f"the table must have the columns {_listed([c.name for c in self.used])}; {'; '.join(parts)}"
            )

    def description(self) -> list[dict[str, Any]]:
        """Return all fitted values, as JSON data."""
        return [column.description() for column in self.columns]

    @classmethod
    def of(cls, description: Any) -> Columns:
        """Make the object again from the list that `description` has returned.

        Raises
        ------
        ValueError
            If the argument is not such a list.
        """
        if not isinstance(description, list):
            raise ValueError(f"columns must be a list; got {description!r}")
        return cls([Column.of(described) for described in description])

    def table(self) -> list[list[str]]:
        """Return rows of (column, kind, conversion).

        If there are more than 40 columns, columns with the same kind and the same conversion share a row.
        """
        rows = [[column.name, column.kind, _treatment(column)] for column in self.columns]
        if len(rows) <= SHOWN:
            return rows
        alike: dict[tuple[str, str], list[str]] = {}
        for name, kind, what in rows:
            alike.setdefault((kind, what), []).append(name)
        many = sorted(alike.items(), key=lambda item: -len(item[1]))
        short = [[_listed(names, 3), kind, what] for (kind, what), names in many[:SHOWN]]
        rest = sum(len(names) for _, names in many[SHOWN:])
        return short + ([[f"{rest} more", "", ""]] if rest else [])


def _listed(names: list[str], most: int = 20) -> str:
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _outputs(column: Column) -> list[str]:
    name, missing = column.name, [f"{column.name} is missing"] * column.missing
    if column.kind == "number":
        return [name, *missing]
    if column.kind == "date":
        return [*(f"{name} ({part})" for part in column.values), *missing]
    return [*(f"{name}={value}" for value in column.values), *[f"{name} is another"] * column.other, *missing]


def _learn_numbers(training: Frame, frame: Frame) -> tuple[dict[str, float], dict[str, bool]]:
    """Return two dicts by column name: the median of the training rows, and True if a cell of these rows is missing."""
    if not frame.shape[1]:
        return {}, {}
    block = training.to_numpy(dtype=np.float64)
    gone = np.isnan(block).any(axis=0)
    medians = np.zeros(block.shape[1])
    for i in np.flatnonzero(gone):
        known = block[~np.isnan(block[:, i]), i]
        medians[i] = np.median(known) if len(known) else 0.0
    if not gone.all():
        with np.errstate(over="ignore", invalid="ignore"):
            medians[~gone] = np.median(block[:, ~gone], axis=0)
    names = list(frame.columns)
    return dict(zip(names, medians.tolist(), strict=True)), dict(zip(names, gone.tolist(), strict=True))


def _learn(column: Column, training: Frame) -> Column:
    if column.kind == "left out":
        return column
    cells = training[column.name]
    if column.kind == "number":
        numbers = as_numbers(cells, column.decimal)
        known = numbers[np.isfinite(numbers)]
        fill = float(np.median(known)) if len(known) else 0.0
        return dataclasses.replace(column, fill=fill, missing=len(known) < len(numbers))
    if column.kind == "date":
        return _learn_dates(column, as_dates(cells, column.format))
    texts = as_texts(cells)
    counts = texts.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    kept = [str(value) for value in counts.index[counts >= FEWEST_ROWS][:MOST_CATEGORIES]]
    kept = kept or [str(value) for value in counts.index[:MOST_CATEGORIES]]
    other, missing = len(kept) < len(counts), bool(texts.isna().any())
    if len(kept) == 2 and not other and not missing:
        kept = kept[1:]  # one output is enough, because each row is in one of the two categories
    return dataclasses.replace(column, values=kept, other=other, missing=missing)


def _learn_dates(column: Column, times: Series) -> Column:
    known = times.dropna()
    hours = len(known) > 0 and bool((known.dt.normalize() != known).any())
    parts = [part for part in DATE_PARTS if part != "hour" or hours]
    middle = float(np.median(DATE_PARTS["days"](known))) if len(known) else 0.0
    return dataclasses.replace(column, values=parts, fill=middle, missing=len(known) < len(times))


def _put_numbers(X: Array, frame: Frame, plain: list[tuple[Column, int]]) -> None:
    """Write the columns of `plain`, which pandas stores as numbers, into X at once. Also mark their missing cells.

    `plain` is a list of pairs: a column of the table, and the index of the column of X that gets the numbers.
    """
    if not plain:
        return
    block = frame[[column.name for column, _ in plain]].to_numpy(dtype=np.float64)
    gone = ~np.isfinite(block)
    X[:, [start for _, start in plain]] = np.where(gone, [column.fill for column, _ in plain], block)
    marked = [i for i, (column, _) in enumerate(plain) if column.missing]
    X[:, [plain[i][1] + 1 for i in marked]] = gone[:, marked]


def _inputs(column: Column, cells: Series) -> Array:
    """Return the outputs of one column. The shape is (number of cells, number of outputs)."""
    if column.kind == "number":
        numbers = as_numbers(cells, column.decimal)
        gone = ~np.isfinite(numbers)
        return _stacked([np.where(gone, column.fill, numbers)], gone, column)
    if column.kind == "date":
        times = as_dates(cells, column.format)
        gone = times.isna().to_numpy()
        middle = np.datetime64("1970-01-01") + np.timedelta64(round(column.fill * 86400), "s")
        times = times.fillna(need("pandas", "pandas").Timestamp(middle))
        return _stacked([DATE_PARTS[part](times).to_numpy(np.float64) for part in column.values], gone, column)
    texts = as_texts(cells)
    gone = texts.isna().to_numpy()
    is_value = [(texts == value).to_numpy(dtype=bool, na_value=False) for value in column.values]
    if column.other:
        is_value.append(~gone & ~np.any(is_value, axis=0))
    return _stacked(is_value, gone, column)


def _stacked(outputs: list[Array], gone: Array, column: Column) -> Array:
    return np.column_stack([*outputs, gone] if column.missing else outputs).astype(np.float64)


def _treatment(column: Column) -> str:
    note = f" ({column.note})" if column.note else ""
    if column.kind == "left out":
        return column.note
    if column.kind == "number":
        return ("scaled" + f"; missing: the median {column.fill:.6g}, and 1 in an extra output" * column.missing) + note
    if column.kind == "date":
        parts = ", ".join(column.values)
        return f"{parts}" + "; missing: the median, and 1 in an extra output" * column.missing + note
    if len(column.values) == 1 and not column.other:
        return f"1 for {column.values[0]}, else 0" + "; missing: 1 in an extra output" * column.missing + note
    values = _listed(column.values, 6) + ", all others" * column.other + ", missing" * column.missing
    return f"an output for each of: {values}" + note
