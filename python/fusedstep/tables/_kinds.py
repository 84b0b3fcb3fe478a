"""The kind of each column of a table: number, category, date, or left out."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from .._base.optional import need
from ._values import as_numbers, as_texts, date_format, decimal_of, is_number_type
from .errors import TableError

Frame = Any  # a pandas.DataFrame
Series = Any

MOSTLY = 0.9  # if at least this share of the cells are numbers, the kind of the column is "number"
FEW = 20  # a column with at most this number of different values is neither an identifier nor free text
# Patterns of names that identifiers have, such as "user_id". If a name matches only NEVER_REPEATED, the column is an
# identifier only if all its values differ.
OFTEN_REPEATED = re.compile(r"(?:^|[_\s.-])(?:id|uuid|guid)$|^Unnamed: \d+$", re.IGNORECASE)
NEVER_REPEATED = re.compile(r"(?:^|[_\s.-])(?:id|uuid|guid|key|index|nr|no|number)$", re.IGNORECASE)
CAMEL = re.compile(r"[a-z]I[dD]$")


@dataclass(frozen=True)
class Column:
    """The kind of a column of a table, and what was learned from its cells.

    The columns of numbers that are computed from a column are called its outputs.

    Attributes
    ----------
    name : str
    kind : {"number", "category", "date", "left out"}
    note : str
        The reason why the column is left out, or a remark about its cells. May be empty.
    decimal : str
        The decimal sign of numbers that are stored as strings.
    format : str
        The format of dates that are stored as strings: a format of ``strftime``, or "ISO8601". Empty if pandas stores
        the cells as dates.
    fill : float
        The number that replaces missing cells. For dates, it is in days since 1970.
    missing : bool
        True if there is an additional output, which is 1 where the cell is missing.
    values : list of str
        If the kind is "category", the categories that have an output of their own, most frequent first. If it is
        "date", the parts of the date, such as "month".
    other : bool
        True if all categories that are not in `values` share one output.
    """

    name: str
    kind: str
    note: str = ""
    decimal: str = "."
    format: str = ""
    fill: float = 0.0
    missing: bool = False
    values: list[str] = field(default_factory=list)
    other: bool = False

    def description(self) -> dict[str, Any]:
        """Return the attributes that differ from the defaults, as JSON data."""
        defaults = Column("", "")
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in known.items() if value != getattr(defaults, name)}

    @classmethod
    def of(cls, described: Any) -> Column:
        """Make a column from a dict that `description` has returned.

        Raises
        ------
        ValueError
            If `described` is not such a dict.
        """
        kinds = {"number": float, "category": str, "date": str, "left out": str}
        known = {f.name: f.default for f in fields(cls) if f.name != "values"} | {"values": []}
        if not isinstance(described, dict) or not described.keys() <= known.keys():
            raise ValueError(f"a column must be a dict whose keys are among {', '.join(known)}; got {described!r}")
        column = cls(**{"name": "", "kind": "", **described})
        texts = (column.name, column.kind, column.note, column.decimal, column.format, *column.values)
        if column.kind not in kinds or not all(isinstance(text, str) for text in texts):
            raise ValueError(
                "a column must have only strings in name, kind, note, decimal, format and values, and its kind must be "
                f"one of {', '.join(map(repr, kinds))}; got {described!r}"
            )
        if not isinstance(column.fill, (int, float)) or not np.isfinite(column.fill):
            raise ValueError(f"column {column.name!r}: fill must be a finite number; got {column.fill!r}")
        return column


def decide(
    frame: Frame, drop: Collection[str] = (), categorical: Collection[str] = (), numeric: Collection[str] = ()
) -> list[Column]:
    """Decide the kind of each column of a table.

    The user has chosen the kind of some columns: those in `drop` are left out, those in `categorical` are categories,
    and those in `numeric` are numbers.

    Raises
    ------
    TableError
        If the table does not have a column that the user has named, if two of the three arguments contain the same
        column, or if columns cannot be used. The message has the names of all columns that cannot be used.
    """
    _check_names(frame, drop, categorical, numeric)
    columns, unusable = [], {}
    easy = _easy_numbers(frame, {*drop, *categorical, *numeric})
    for name in frame.columns:
        try:
            if name in easy:
                columns.append(easy[name])
            elif name in drop:
                columns.append(Column(name, "left out", "as asked"))
            elif name in categorical:
                columns.append(Column(name, "category"))
            elif name in numeric:
                columns.append(_as_asked_number(frame[name]))
            else:
                columns.append(_decide(frame[name]))
        except TableError as error:
            unusable[name] = f"{name!r} ({error})"
    if unusable:
        what, them = ("these columns", "them") if len(unusable) > 1 else ("this column", "it")
        drop = ",".join(unusable)
        raise TableError(f"cannot use {what}: {_listed(list(unusable.values()))}; leave {them} out with --drop {drop}")
    return columns


def _listed(names: list[str], most: int = 50) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _check_names(frame: Frame, drop: Collection[str], categorical: Collection[str], numeric: Collection[str]) -> None:
    there = set(frame.columns)
    seen: dict[str, str] = {}
    for option, names in (("drop", drop), ("categorical", categorical), ("numeric", numeric)):
        for name in names:
            if name not in there:
                raise TableError(f"--{option}: there is no column {name!r}")
            if seen.setdefault(name, option) != option:
                raise TableError(f"column {name!r} must be named by --{seen[name]} or by --{option}, not by both")


def _easy_numbers(frame: Frame, named: set[str]) -> dict[str, Column]:
    """Decide the kinds of all columns with integers or floats at once, because a table may have many such columns.

    The result does not contain the columns in `named`, whose kind the user has chosen. It also does not contain columns
    with infinite values, which are refused later.
    """
    names = [n for n, dtype in frame.dtypes.items() if n not in named and dtype.kind in "iuf"]
    if not names:
        return {}
    block: Any = np.array(frame[names], dtype=np.float64)
    infinite: Any = np.isinf(block).any(axis=0)
    gone: Any = np.isnan(block)
    empty, missing = gone.all(axis=0), gone.any(axis=0)
    block[:, empty] = 0.0
    constant: Any = np.nanmin(block, axis=0) == np.nanmax(block, axis=0)
    with np.errstate(invalid="ignore", over="ignore"):
        steps = np.diff(block, axis=0)
    counter: Any = ((steps == 1).all(axis=0) | (steps == -1).all(axis=0)) & (len(block) > FEW)
    found = {}
    for i, name in enumerate(names):
        if infinite[i]:
            continue
        if empty[i] or (constant[i] and not missing[i]):
            found[name] = Column(name, "left out", "empty" if empty[i] else "has one value only")
        elif counter[i] or (_may_be_named_so(name) and _named_as_identifier(name, frame[name])):
            found[name] = Column(name, "left out", "identifier: row numbers" if counter[i] else "identifier")
        else:
            found[name] = Column(name, "number")
    return found


def _may_be_named_so(name: str) -> bool:
    return any(pattern.search(name) for pattern in (OFTEN_REPEATED, CAMEL, NEVER_REPEATED))


def _named_as_identifier(name: str, column: Series) -> bool:
    """Return True if a column has the name and the values of an identifier.

    An identifier is a column of strings or whole numbers with more than FEW different values. Its name must match one
    of the patterns OFTEN_REPEATED, CAMEL and NEVER_REPEATED. If NEVER_REPEATED is the only pattern that the name
    matches, all values must differ.
    """
    if not _may_be_named_so(name):
        return False
    often = OFTEN_REPEATED.search(name) or CAMEL.search(name)
    values = column.dropna()
    if is_number_type(column) and not (np.mod(values, 1) == 0).all():
        return False
    different = values.nunique()
    return bool(different > FEW and (often or different == len(values)))


def _decide(column: Series) -> Column:
    name, values = str(column.name), column.dropna()
    _refuse_what_is_no_cell(column)
    if not len(values):
        return Column(name, "left out", "empty")
    if is_number_type(column) or column.dtype.kind == "m":
        return _number(column, ".", values)
    if column.dtype.kind == "b" or str(column.dtype) == "boolean":
        return Column(name, "category") if values.nunique() > 1 else Column(name, "left out", "has one value only")
    form = date_format(column)
    if form is not None:
        return Column(name, "date", format=form)
    decimal = decimal_of(column, column.attrs.get("decimal", "."))
    if np.isfinite(as_numbers(values, decimal)).sum() >= MOSTLY * len(values):
        return _number(column, decimal, values)
    return _text(name, as_texts(values).dropna(), len(column))


def _refuse_what_is_no_cell(column: Series) -> None:
    if column.dtype.kind == "c":
        raise TableError("complex numbers")
    if column.dtype.kind == "O":
        first = next((cell for cell in column if not isinstance(cell, (str, int, float, bool, type(None)))), None)
        if first is not None and (hasattr(first, "__len__") or isinstance(first, (dict, set, bytes))):
            raise TableError(f"a cell has the type {type(first).__name__}")


def _number(column: Series, decimal: str, values: Series) -> Column:
    name, numbers = str(column.name), as_numbers(values, decimal)
    if np.isinf(numbers).any():
        at = values.index[int(np.argmax(np.isinf(numbers)))]
        raise TableError(f"{numbers[np.isinf(numbers)][0]} in {values.index.name or 'row'} {at}")
    if np.ptp(numbers[~np.isnan(numbers)]) == 0 and len(values) == len(column):
        return Column(name, "left out", "has one value only")
    if _named_as_identifier(name, need("pandas", "pandas").Series(numbers)):
        return Column(name, "left out", "identifier")
    odd = values[np.isnan(numbers)]
    return Column(name, "number", _odd(odd), decimal=decimal)


def _odd(odd: Series) -> str:
    """Return a remark about cells that are treated as missing because they are no numbers."""
    if not len(odd):
        return ""
    examples = ", ".join(repr(str(text)) for text in list(dict.fromkeys(odd))[:3])
    one = len(odd) == 1
    what, verb = ("cell is no number", "is") if one else ("cells are no numbers", "are")
    return f"{len(odd)} {what} ({examples}) and {verb} treated as missing"


def _as_asked_number(column: Series) -> Column:
    values = column.dropna()
    decimal = "." if is_number_type(column) else decimal_of(column, column.attrs.get("decimal", "."))
    numbers = as_numbers(values, decimal)
    good = np.isfinite(numbers)
    if not good.any():
        raise TableError("--numeric needs at least one finite number; the column has none")
    return Column(str(column.name), "number", _odd(values[~good]), decimal=decimal)


def _text(name: str, texts: Series, rows: int) -> Column:
    different = texts.nunique()
    if different == 1 and len(texts) == rows:
        return Column(name, "left out", "has one value only")
    if different > FEW and _named_as_identifier(name, texts):
        return Column(name, "left out", "identifier")
    if different > FEW and different > 0.5 * len(texts):
        words = texts.str.split().str.len().mean()
        alike = different >= 0.95 * len(texts) and words < 3
        return Column(name, "left out", "identifier: almost all values differ" if alike else "free text")
    return Column(name, "category")
