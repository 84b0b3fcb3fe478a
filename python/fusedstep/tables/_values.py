"""Parse cells: numbers in common notations, dates and strings."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._base.optional import need

Series = Any  # a pandas.Series

CURRENCY = r"[\s\u00a0\u202f€$£%]"
THOUSANDS = {".": r"^([-+]?\d{1,3})(?:,\d{3})+(?:\.\d+)?$", ",": r"^([-+]?\d{1,3})(?:\.\d{3})+(?:,\d+)?$"}
DATES = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%m-%d-%Y",
    "%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y",
)  # fmt: skip
TIMES = ("", " %H:%M:%S", " %H:%M", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
DATE_LIKE = r"^\s*(?:\d{1,4}[-/. ]|\d{8}\s*$|[A-Za-z]{3,9} \d)[\w,./ :+-]+$"


def is_number_type(column: Series) -> bool:
    """Return True if pandas stores the column as numbers. Bools are not numbers here."""
    return column.dtype.kind in "iuf" or (column.dtype.kind != "b" and str(column.dtype).startswith(("Int", "Float")))


def as_numbers(column: Series, decimal: str = ".") -> Any:
    """Return the cells as float64, and nan for cells that are no numbers.

    If `decimal` is ".", the cells "12", "1,234.5", "12 %" and "3 €" are numbers. If it is ",", the cell "1.234,5" is a
    number.
    """
    pandas = need("pandas", "pandas")
    if is_number_type(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    if column.dtype.kind == "m":
        return column.dt.total_seconds().to_numpy(dtype=np.float64)
    if column.dtype.kind == "b" or str(column.dtype) == "boolean":
        return column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    texts = column.astype(object).where(column.notna(), None)
    texts = texts.map(lambda cell: cell if cell is None else str(cell)).astype("str")
    texts = texts.str.replace(CURRENCY, "", regex=True)
    grouped = texts.str.fullmatch(THOUSANDS[decimal], na=False).astype(bool)
    texts = texts.where(~grouped, texts.str.replace("," if decimal == "." else ".", "", regex=False))
    if decimal == ",":
        texts = texts.str.replace(",", ".", regex=False)
    texts = texts.where(~texts.str.contains("_", regex=False, na=False).astype(bool), None)
    return pandas.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)


def decimal_of(column: Series, usual: str = ".") -> str:
    """Return the decimal sign, "." or ",", with which more cells are numbers. If both have as many, return `usual`."""
    other = "," if usual == "." else "."
    counts = {sign: int(np.isfinite(as_numbers(column, sign)).sum()) for sign in (usual, other)}
    return other if counts[other] > counts[usual] else usual


def as_texts(column: Series) -> Series:
    """Return the cells as strings without spaces around them. A missing cell is None.

    If all numbers of a column are whole, 1.0 becomes "1". The reason is that pandas stores a column of integers as
    floats if cells are missing.
    """
    if is_number_type(column):
        whole = column.dropna()
        if len(whole) and (np.mod(whole.astype(np.float64), 1) == 0).all() and np.abs(whole).max() < 2**53:
            column = column.astype("Float64").astype("Int64")
    texts = column.astype(object).where(column.notna(), None)
    return texts.map(lambda cell: None if cell is None else str(cell).strip() or None)


def date_format(column: Series) -> str | None:
    """Return the date format that at least 90% of the cells have, or None if there is no such format.

    Equal cells count once. If pandas stores the cells as dates, return "".
    """
    if column.dtype.kind == "M" or str(column.dtype).startswith("datetime64"):
        return ""
    values = column.dropna()
    if is_number_type(column) or column.dtype.kind in "bm" or not len(values):
        return None
    texts = values.astype(str).drop_duplicates()
    few = texts.iloc[:: max(1, len(texts) // 50)]
    if few.str.match(DATE_LIKE).mean() < 0.9:
        return None
    formats = [day + time for time in TIMES for day in DATES]
    for form in ("ISO8601", *formats):
        if as_dates(few, form).notna().mean() >= 0.9 and as_dates(texts, form).notna().mean() >= 0.9:
            return form
    return None


def as_dates(column: Series, form: str) -> Series:
    """Return the cells as times without a time zone. `form` is the result of `date_format`.

    Cells that are not dates of this format become NaT.
    """
    pandas = need("pandas", "pandas")
    if date_format_is_needed(column):
        column = pandas.to_datetime(column.astype(object), format=form or "ISO8601", errors="coerce", utc=True)
    return column.dt.tz_localize(None) if getattr(column.dt, "tz", None) is not None else column


def date_format_is_needed(column: Series) -> bool:
    """Return True if pandas does not store the column as dates."""
    return not (column.dtype.kind == "M" or str(column.dtype).startswith("datetime64"))
