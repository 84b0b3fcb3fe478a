"""The training data, and the reader of .npz files. Error messages contain the row and the column."""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..tables import as_numbers, as_texts, decimal_of
from ..tables.reading import BIG, RATIO
from ._errors import UsageError

Array = npt.NDArray[Any]

# The values of a target with many numbers and a few strings are classes only if at most this number of them differ.
MOST_CLASSES = 20


@dataclass
class Table:
    """Training data: inputs as numbers X or as a frame of columns, and targets as numbers or strings."""

    name: str
    X: Array  # without columns until the columns of the frame are converted to numbers
    y: Array
    feature_names: list[str]
    task: str = "auto"
    one_unit: bool = False  # True if all input columns are divided by the same scale
    target_name: str = "y"
    frame: Any = None
    wishes: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def where(self, row: int) -> str:
        """Return a text by which the user can find a row."""
        return f"row {row}" if self.frame is None else f"{self.frame.index.name} {self.frame.index[row]}"


def read_npz(path: Path) -> Table:
    """Read the arrays X and y.

    Raises
    ------
    UsageError
        If the file does not contain both arrays, or if their dtypes, shapes or values are not suitable.
    """
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
        raise UsageError(f"{path}: y must be numbers or texts; got bytes that are not ASCII") from None
    for name, array in (("X", X), ("y", y)):
        bad = np.argwhere(~np.isfinite(array)) if array.dtype.kind == "f" else np.empty((0, 1))
        if len(bad):
            at = ", column ".join(map(str, bad[0]))
            raise UsageError(f"{path}: {name} must be finite; got {array[tuple(bad[0])]} in row {at}")
    return Table(path.name, X, y, [f"x{i}" for i in range(X.shape[1])])


def _members(path: Path) -> tuple[Array, Array]:
    """Read X and y. If the file is not a valid .npz file, NumPy's or zipfile's error becomes a `UsageError`."""
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            missing = [key for key in ("X", "y") if f"{key}.npy" not in archive.namelist()]
            if missing:
                names = ", ".join(name.removesuffix(".npy") for name in archive.namelist()) or "nothing"
                raise UsageError(f"{path}: must hold the arrays X and y; got {names}")
            return _member(path, archive, "X"), _member(path, archive, "y")
    except (zipfile.BadZipFile, ValueError, RuntimeError):
        raise UsageError(f"{path}: is not an .npz archive") from None


def _member(path: Path, archive: zipfile.ZipFile, key: str) -> Array:
    try:
        about = archive.getinfo(f"{key}.npy")
        _refuse_bomb(path, key, about)
        with archive.open(f"{key}.npy") as member:
            _check_header(member, about.file_size)
        with archive.open(f"{key}.npy") as member:
            found: Array = np.lib.format.read_array(member, allow_pickle=False)
    except (ValueError, EOFError, OSError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error, lzma.LZMAError):
        kind = "numbers" if key == "X" else "numbers or texts"
        raise UsageError(f"{path}: {key} must be a complete array of {kind}; NumPy cannot read it") from None
    return found


def _refuse_bomb(path: Path, key: str, about: zipfile.ZipInfo) -> None:
    """Refuse an archive that declares a very large unpacked size, before unpacking it."""
    if about.file_size > max(BIG, RATIO * about.compress_size):
        raise UsageError(
            f"{path}: {key} would unpack from {about.compress_size / 1e6:.3g} MB to {about.file_size / 1e9:.3g} GB; "
            "if this size is right, save the file with numpy.savez, without compression"
        )


def _check_header(member: IO[bytes], size: int) -> None:
    """Refuse an array whose header claims more data than the file has, before allocating memory."""
    version = np.lib.format.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise ValueError("the header must be of version 1.0 or 2.0")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError("the file must hold all elements of the array")


def as_number(cell: str) -> float | None:
    """Return the number in a cell, or None."""
    try:
        return None if "_" in cell else float(cell)  # Python reads 1_000 as 1000, but in a table 1_000 is a string
    except ValueError:
        return None


def read_target(file: str, column: Any) -> Array:
    """Return the cells as numbers if all of them are numbers, else as strings.

    Raises
    ------
    UsageError
        If all cells are numbers and one of them is infinite. Or if more than half of the cells (but not all) are
        numbers, and there are more than MOST_CLASSES different values.
    """
    if column.dtype.kind in "iuf":
        values = column.to_numpy()
    else:
        texts, decimal = as_texts(column), decimal_of(column, column.attrs.get("decimal", "."))
        values = as_numbers(column, decimal) if column.dtype.kind not in "bM" else np.full(len(column), np.nan)
        numbers = int((~np.isnan(values)).sum())
        if numbers < len(values) and (numbers <= len(values) // 2 or texts.nunique() <= MOST_CLASSES):
            return np.array(texts.astype(str), dtype=np.str_)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        where = f"{file}, {column.index.name} {column.index[bad[0]]}, column {column.name!r}"
        raise UsageError(f"{where}: needs a finite number; got {str(column.iloc[bad[0]])!r}")
    return values


def listed(names: list[str], most: int = 12) -> str:
    """Return names separated by commas. If there are many, return only the first names and a count."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
