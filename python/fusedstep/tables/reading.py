"""Read a table from a text file or a parquet file.

A text file may have any usual delimiter, encoding, decimal sign and compression.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import os
import re
import zlib
from pathlib import Path
from typing import Any

from .._base.optional import need
from .errors import TableError

Frame = Any  # a pandas.DataFrame

TEXT, PARQUET = (".csv", ".tsv", ".txt"), (".parquet", ".pq")
OPEN: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
SUFFIXES = (*TEXT, *PARQUET, *(f".csv{suffix}" for suffix in OPEN))
DELIMITERS = ",;\t|"
SAMPLE = 200_000  # number of characters at the start of a file that are searched for the decimal sign

# Cells that are missing values: NO_VALUE in the target column, NO_CELL in all other columns.
NO_VALUE = ("", "NA", "N/A", "n/a", "NaN", "nan", "-nan", "<NA>", "#N/A", "NULL", "null")
NO_CELL = (*NO_VALUE, "None", "none", "?", "-", "--", ".", "n.a.", "na", "missing")

RATIO, BIG = 100, 1 << 28  # a file is refused if it unpacks to more than BIG bytes and more than RATIO times its size


def read(path: str | os.PathLike[str], target: str | None = None) -> Frame:
    r"""Read a table from a file.

    Parameters
    ----------
    path : path
        A file with the suffix ``.csv``, ``.tsv``, ``.txt`` or ``.parquet``. Text files may be compressed: ``.gz``,
        ``.bz2`` or ``.xz``.
    target : str, optional
        Name of a column in which cells such as "None", "?" and "-" are values. In all other columns, such cells are
        missing values.

    Returns
    -------
    pandas.DataFrame
        The table. If the file is a text file, the index of the table is named "line" and has the line numbers of the
        file. If it is a parquet file, the index is named "row" and has row numbers from 0.

    Raises
    ------
    TableError
        If the file cannot be read as a table.
    ImportError
        If pandas is not installed. For parquet files, also if pyarrow is not installed.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = pathlib.Path(folder, "flats.csv")
    ...     _ = file.write_bytes("fläche;preis\n42,5;100\n;200\n".encode("latin-1"))
    ...     read(file)
          fläche  preis
    line...
    2       42.5    100
    3        NaN    200
    """
    need("pandas", "pandas")
    path = Path(path)
    if path.suffix.lower() in PARQUET:
        return _read_parquet(path, target)
    return _read_text(path, _decoded(path, _unpacked(path)), target)


def _read_parquet(path: Path, target: str | None) -> Frame:
    need("pyarrow", "pyarrow", extra="parquet")
    try:
        frame = need("pandas", "pandas").read_parquet(path)
    except (ValueError, OSError) as error:
        raise TableError(f"{path}: cannot be read as parquet: {str(error).splitlines()[0]}") from None
    frame = frame.reset_index() if any(frame.index.names) else frame.reset_index(drop=True)
    frame.columns = [str(name) for name in frame.columns]
    _check_names(path, list(frame.columns))
    for name in [name for name, dtype in frame.dtypes.items() if dtype.kind == "O" or str(dtype) in ("str", "string")]:
        none = set(NO_VALUE if name == target else NO_CELL)
        empty = [isinstance(cell, str) and cell.strip() in none for cell in frame[name]]
        frame[name] = frame[name].mask(empty, None)
    return frame.rename_axis(index="row")


def _unpacked(path: Path) -> bytes:
    opener = OPEN.get(path.suffix.lower())
    if opener is None:
        return path.read_bytes()
    limit = max(BIG, RATIO * path.stat().st_size)
    try:
        with opener(path, "rb") as file:
            data: bytes = file.read(limit + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        raise TableError(f"{path}: cannot be unpacked as {path.suffix.lower()[1:]}") from None
    if len(data) > limit:
        raise TableError(
            f"{path}: unpacks to more than {RATIO} times its size, and to more than {BIG >> 20} MB; "
            "if you expect so large a table, unpack the file, and read the unpacked file"
        )
    return data


def _decoded(path: Path, data: bytes) -> str:
    """Decode UTF-16 if the data begin with its byte order mark. Else try UTF-8, then Windows-1252, then latin-1."""
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ["utf-16"] if marked else ["utf-8-sig", "cp1252", "latin-1"]:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
        break
    raise TableError(f"{path}: is not a text file in UTF-8, UTF-16 or latin-1")


def _read_text(path: Path, text: str, target: str | None) -> Frame:
    first = text[: text.find("\n")] if "\n" in text else text
    delimiter = max(DELIMITERS, key=first.count)
    header, lines = _rows(path, text, delimiter)
    _check_names(path, [name for name in header if name])
    if all(_is_number(name) for name in header):
        raise TableError(f"{path.name}: the first line must be names of columns; got only numbers")
    pandas, decimal = need("pandas", "pandas"), _decimal(text[:SAMPLE], delimiter)
    names = [name or f"Unnamed: {i}" for i, name in enumerate(header)]
    common: dict[str, Any] = {
        "sep": delimiter, "names": names, "header": 0, "index_col": False, "skipinitialspace": True,
        "keep_default_na": False, "decimal": decimal, "low_memory": False,
    }  # fmt: skip
    try:
        frame = pandas.read_csv(io.StringIO(text), na_values=list(NO_CELL), **common)
        if target in names:
            again = pandas.read_csv(io.StringIO(text), na_values=list(NO_VALUE), usecols=[target], **common)
            frame[target] = again[target]
    except (ValueError, pandas.errors.ParserError) as error:
        raise TableError(f"{path}: cannot be read as .csv: {str(error).splitlines()[0]}") from None
    frame.index = pandas.Index(lines, name="line")
    nameless = [name for name, given in zip(names, header, strict=True) if not given and frame[name].isna().all()]
    frame = frame.drop(columns=nameless) if nameless else frame
    empty = frame.isna().all(axis=1)
    frame = frame[~empty] if empty.any() else frame
    frame.attrs["decimal"] = decimal
    return frame


def _rows(path: Path, text: str, delimiter: str) -> tuple[list[str], list[int]]:
    """Return the header and the line number of each row. All rows must have as many cells as the header."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    header: list[str] = []
    lines = []
    try:
        for cells in reader:
            if not cells or (len(cells) == 1 and not cells[0].strip()):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                continue
            if len(cells) != len(header):
                raise TableError(
                    f"{path.name}, line {reader.line_num}: must have {len(header)} cells, as the first line has; "
                    f"got {len(cells)}"
                )
            lines.append(reader.line_num)
    except csv.Error as error:
        raise TableError(f"{path}: cannot be read as .csv: {error}") from None
    if not lines:
        total = len(header) > 0
        raise TableError(
            f"{path}: must have a line of column names and at least one line of data; got {int(total)} lines"
        )
    return header, lines


def _check_names(path: Path, header: list[str]) -> None:
    seen: set[str] = set()
    for name in header:
        if name in seen:
            raise TableError(f"{path.name}: column names must differ; {name!r} comes twice")
        seen.add(name)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _decimal(sample: str, delimiter: str) -> str:
    """Return the decimal sign of the numbers in a sample of a text file: a comma or a point.

    The sign is a comma if the delimiter is not a comma, and the sample has cells like 1,5 or 1.234,5 but no cells like
    1.5.
    Cells like 1.500 are ignored, because the point can be a decimal sign or can separate thousands.
    """
    if delimiter == ",":
        return "."  # if quoted cells have a decimal comma, pandas reads their column as strings
    start, end = rf'(?:^|[{delimiter}"])\s*[-+]?', rf'\s*(?=$|[{delimiter}"])'
    comma = re.search(rf"{start}\d+(?:\.\d{{3}})*,\d+{end}", sample, re.MULTILINE)
    dot = re.search(rf"{start}\d+\.(?!\d{{3}}{end})\d+{end}", sample, re.MULTILINE)
    return "," if comma and not dot else "."
