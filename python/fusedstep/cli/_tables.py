"""Reading a table from a .csv or .npz file; every fault is told with its place."""

from __future__ import annotations

import csv
import lzma
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ._errors import UsageError

Array = npt.NDArray[Any]


@dataclass
class Table:
    """Numbers to learn from, and a target column as it was found: numbers, or texts with their lines."""

    name: str
    X: Array
    y: Array
    feature_names: list[str]
    task: str = "auto"
    one_unit: bool = False
    target_name: str = "y"

    def where(self, row: int) -> str:
        """Name the row as the user can find it."""
        return f"row {row}"


@dataclass
class CsvTable(Table):
    """A table that knows the line of each row."""

    lines: tuple[int, ...] = ()

    def where(self, row: int) -> str:
        """Name the row as the user can find it."""
        return f"line {self.lines[row]}"


def read(path: Path, target: str | None, drop: list[str]) -> Table:
    """Read a .csv, .tsv or .npz file.

    Raises
    ------
    UsageError
        If the file is missing, of another kind, or not as expected.
    """
    if not path.exists():
        raise UsageError(f"--data: no such file: {path}")
    if not path.is_file():
        what = "directory" if path.is_dir() else "device or pipe"
        raise UsageError(f"--data must be a file; got the {what} {path}")
    if path.suffix.lower() == ".npz":
        if target or drop:
            raise UsageError("--target and --drop are for .csv files; a .npz file holds X and y")
        return _read_npz(path)
    return _read_csv(path, target, drop)


def _read_npz(path: Path) -> Table:
    X, y = _members(path)
    if X.ndim < 2 or X.dtype.kind not in "biuf" or X.size == 0:
        raise UsageError(f"{path}: X must be numbers with one row per example; got {X.dtype} {X.shape}")
    if y.size != len(X) or y.dtype.kind not in "biufUS":
        need = f"{len(X)} numbers or texts, one per row of X"
        raise UsageError(f"{path}: y must hold {need}; got {y.dtype} {y.shape}")
    with np.errstate(over="ignore"):  # inf is refused below
        X, y = X.reshape(len(X), -1).astype(np.float64), y.reshape(-1)
    try:
        y = y.astype(np.str_) if y.dtype.kind in "bSU" else y
    except UnicodeDecodeError:
        raise UsageError(f"{path}: y must be numbers or texts; its bytes are not ASCII") from None
    for name, array in (("X", X), ("y", y)):
        bad = np.argwhere(~np.isfinite(array)) if array.dtype.kind == "f" else np.empty((0, 1))
        if len(bad):
            at = ", column ".join(map(str, bad[0]))
            raise UsageError(f"{path}: {name} must be finite; got {array[tuple(bad[0])]} in row {at}")
    return Table(path.name, X, y, [f"x{i}" for i in range(X.shape[1])])


def _members(path: Path) -> tuple[Array, Array]:
    """Read X and y; a file that is none, or lies about its arrays, raises one of many errors."""
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            missing = [key for key in ("X", "y") if f"{key}.npy" not in archive.namelist()]
            if missing:
                names = ", ".join(name.removesuffix(".npy") for name in archive.namelist()) or "nothing"
                raise UsageError(f"{path}: needs the arrays X and y; it holds {names}")
            return _member(path, archive, "X"), _member(path, archive, "y")
    except (zipfile.BadZipFile, ValueError, RuntimeError):
        raise UsageError(f"{path}: is not an .npz archive") from None


def _member(path: Path, archive: zipfile.ZipFile, key: str) -> Array:
    try:
        with archive.open(f"{key}.npy") as member:
            _check_header(member, archive.getinfo(f"{key}.npy").file_size)
        with archive.open(f"{key}.npy") as member:
            found: Array = np.lib.format.read_array(member, allow_pickle=False)
    except (ValueError, EOFError, OSError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, lzma.LZMAError):
        raise UsageError(f"{path}: {key} must be an array of numbers; it cannot be read as one") from None
    return found


def _check_header(member: IO[bytes], size: int) -> None:
    """Refuse an array that claims more than is there, before memory is taken for it."""
    version = np.lib.format.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise ValueError("a version for tables of named columns")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError("its data is not there")


def _read_csv(path: Path, target: str | None, drop: list[str]) -> CsvTable:
    header, rows, lines = _split_cells(path)
    for name, option in [(target, "--target"), *((name, "--drop") for name in drop)]:
        if name is None:
            raise UsageError(f"--target is needed with {path.name}; its columns are {_listed(header)}")
        if name not in header:
            raise UsageError(f"{option}: {path.name} has no column {name!r}; its columns are {_listed(header)}")
    features = [name for name in header if name != target and name not in drop]
    if not features:
        raise UsageError(f"{path.name}: no column is left to learn from besides the target {target!r}")
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    X = np.empty((len(rows), len(features)))
    for i, name in enumerate(features):
        hint = f"; leave the column out with --drop {name!r} or give it numbers"
        X[:, i] = _numbers(path.name, name, columns[name], lines, hint)
    y = _target(path.name, str(target), columns[str(target)], lines)
    return CsvTable(path.name, X, y, features, target_name=str(target), lines=tuple(lines))


def _split_cells(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Split the file into its header, its rows of cells and their line numbers; all rows equally long."""
    rows, lines = [], []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=first.count), skipinitialspace=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    rows.append([cell.strip() for cell in cells])
                    lines.append(reader.line_num)
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not a text file in UTF-8") from None
    except csv.Error as error:
        raise UsageError(f"{path}: cannot be read as .csv: {error}") from None
    if len(rows) < 2:
        raise UsageError(f"{path}: needs a line of column names and lines of data; got {len(rows)} in all")
    header, rows, lines = rows[0], rows[1:], lines[1:]
    _check_names(path, header)
    for line, cells in zip(lines, rows, strict=True):
        if len(cells) != len(header):
            raise UsageError(
                f"{path.name}, line {line}: needs {len(header)} cells, as the first line; got {len(cells)}"
            )
    return header, rows, lines


def _check_names(path: Path, header: list[str]) -> None:
    if all(as_number(name) is not None for name in header):
        raise UsageError(f"{path.name}: the first line must name the columns; it holds only numbers")
    twice = [name for i, name in enumerate(header) if name in header[:i]]
    if twice:
        raise UsageError(f"{path.name}: column names must differ; {twice[0]!r} comes twice")


def _numbers(file: str, column: str, cells: tuple[str, ...], lines: list[int], hint: str) -> list[float]:
    values = []
    for cell, line in zip(cells, lines, strict=True):
        value = as_number(cell)
        if value is None or not math.isfinite(value):
            what = "a missing value" if cell == "" else f"{cell!r}"
            raise UsageError(f"{file}, line {line}, column {column!r}: needs a finite number; got {what}{hint}")
        values.append(value)
    return values


def _target(file: str, column: str, cells: tuple[str, ...], lines: list[int]) -> Array:
    """Return numbers if all cells are numbers, else texts; refuse numbers with odd texts among them."""
    for cell, line in zip(cells, lines, strict=True):
        if cell.lower() in ("", "nan"):
            raise UsageError(f"{file}, line {line}, column {column!r}: the target is missing")
    numbers = sum(as_number(cell) is not None for cell in cells)
    if numbers == len(cells) or (numbers > len(cells) // 2 and len(set(cells)) > 20):
        return np.array(_numbers(file, column, cells, lines, ""))
    return np.array(cells)


def as_number(cell: str) -> float | None:
    """Return the number that a cell holds, or None."""
    try:
        return None if "_" in cell else float(cell)  # Python reads 1_000 as 1000; a table means no number
    except ValueError:
        return None


def _listed(names: list[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
