"""From a table to arrays ready for training: the task, the three parts, the scaling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._base.optional import need
from ._errors import UsageError
from ._tables import Table, as_number, read

Array = npt.NDArray[Any]

BUNDLED = ("digits", "breast_cancer", "wine", "diabetes", "iris")
FEWEST_ROWS = 20
MOST_INTEGER_CLASSES = 20  # more distinct integers than this are taken for quantities, not for names
TEST_EVERY, VALIDATION_EVERY = 5, 8  # a fifth is held out; an eighth of the rest chooses the epoch


@dataclass
class Problem:
    """A task with its data in three parts, raw inputs and encoded targets (labels, or values)."""

    table: Table
    task: str
    classes: list[Any]
    y: Array
    train: Array
    validation: Array
    test: Array
    input_mean: Array
    input_scale: Array
    target_mean: float = 0.0
    target_scale: float = 1.0

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        return len(self.classes) if self.task == "classification" else 1

    @property
    def metric_name(self) -> str:
        """Name of what is reported beside the loss."""
        return "accuracy" if self.task == "classification" else "R^2"

    def part(self, rows: Array, dtype: npt.DTypeLike) -> tuple[Array, Array]:
        """Return inputs and targets of some rows, as the network takes them."""
        x = (self.table.X[rows] - self.input_mean) / self.input_scale
        if self.task == "classification":
            return np.ascontiguousarray(x, dtype), self.y[rows]
        y = (self.y[rows] - self.target_mean) / self.target_scale
        return np.ascontiguousarray(x, dtype), np.ascontiguousarray(y[:, None], dtype)


def load_table(source: str, target: str | None, drop: list[str]) -> Table:
    """Find the data that ``--data`` names.

    Raises
    ------
    UsageError
        If there is none, or it is not usable.
    """
    if source in BUNDLED:
        if target or drop:
            raise UsageError(f"--target and --drop are for .csv files; --data is {source}")
        return _bundled(source)
    path = Path(source)
    if path.suffix.lower() not in (".csv", ".tsv", ".npz"):
        raise UsageError(f"--data must be {', '.join(BUNDLED)}, or a .csv, .tsv or .npz file; got {source!r}")
    return read(path, target, drop)


def _bundled(name: str) -> Table:
    found = getattr(need("sklearn.datasets", "scikit-learn"), f"load_{name}")()
    y = found.target
    if name not in ("digits", "diabetes"):
        y = np.asarray(found.target_names)[y].astype(np.str_)
    task = "regression" if name == "diabetes" else "classification"
    # the digits' pixels share one unit: scaling each by its own deviation would blow up the margins' specks
    one_unit = name == "digits"
    return Table(name, np.asarray(found.data, np.float64), y, [str(f) for f in found.feature_names], task, one_unit)


def prepare(table: Table, task: str, split_seed: int) -> Problem:
    """Decide the task, encode the target, cut the rows into parts and measure the training part.

    Raises
    ------
    UsageError
        If there are too few rows or classes, or the target does not fit the task.
    """
    n = len(table.X)
    if n < FEWEST_ROWS:
        raise UsageError(f"{table.name}: needs at least {FEWEST_ROWS} rows of data; got {n}")
    task = _decide(table, task)
    classes, y = _classes(table) if task == "classification" else ([], _values(table))
    rng = np.random.default_rng(split_seed)
    strata = y if task == "classification" else np.zeros(n, np.intp)
    rest, test = _every(np.arange(n), strata, TEST_EVERY, rng)
    train, validation = _every(rest, strata, VALIDATION_EVERY, rng)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = _scaling(table.X[train], table.one_unit)
    for name, m, s in zip(table.feature_names, mean, scale, strict=True):
        if not math.isfinite(m) or not math.isfinite(s):
            raise UsageError(f"{table.name}, column {name!r}: the numbers are too large to be scaled")
    problem = Problem(table, task, classes, y, train, validation, test, mean, scale)
    if task == "regression":
        with np.errstate(over="ignore", invalid="ignore"):
            problem.target_mean, problem.target_scale = float(y[train].mean()), float(y[train].std())
        if not math.isfinite(problem.target_scale):
            raise UsageError(f"{table.name}: the target {table.target_name!r} is too large to be scaled")
        if problem.target_scale == 0:
            raise UsageError(
                f"{table.name}: the target {table.target_name!r} must vary; the training rows have one value"
            )
    return problem


def _decide(table: Table, task: str) -> str:
    """Text, or few distinct integers, are classes; other numbers are values."""
    task = table.task if task == "auto" else task
    if task != "auto":
        return task
    if table.y.dtype.kind == "U":
        return "classification"
    whole = np.equal(np.mod(table.y, 1), 0).all()
    return "classification" if whole and len(np.unique(table.y)) <= MOST_INTEGER_CLASSES else "regression"


def _values(table: Table) -> Array:
    if table.y.dtype.kind != "U":
        return table.y.astype(np.float64)
    numbers = [as_number(str(text)) for text in table.y]
    if None not in numbers:
        return np.array(numbers)
    row = numbers.index(None)
    raise UsageError(
        f"{table.name}, {table.where(row)}, column {table.target_name!r}: "
        f"a regression needs a number as target; got {str(table.y[row])!r}"
    )


def _classes(table: Table) -> tuple[list[Any], Array]:
    names, labels, counts = np.unique(table.y, return_inverse=True, return_counts=True)
    if names.dtype.kind == "f" and np.equal(np.mod(names, 1), 0).all() and np.abs(names).max() <= 2**53:
        names = names.astype(np.int64)
    classes = names.tolist()
    what = f"{table.name}: the target {table.target_name!r}"
    if len(classes) < 2:
        raise UsageError(f"{what} must have at least two classes; got one, {classes[0]!r}")
    if counts.min() < 3:
        rare = classes[int(counts.argmin())]
        hint = "; is it a regression (--task regression)?" if names.dtype.kind != "U" else ""
        raise UsageError(f"{what} must have at least 3 rows of each class; got {counts.min()} of {rare!r}{hint}")
    return classes, labels.astype(np.intp)


def _every(rows: Array, strata: Array, every: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Cut off one row in ``every``, from all strata alike: the others and these, each in ascending order.

    Rows are shuffled, sorted by stratum and counted off, so a stratum of three rows keeps two of them.
    """
    order = rng.permutation(rows)
    order = order[np.argsort(strata[order], kind="stable")]
    taken = np.zeros(len(rows), np.bool_)
    taken[rng.integers(every) :: every] = True
    return np.sort(order[~taken]), np.sort(order[taken])


def _scaling(X: Array, one_unit: bool) -> tuple[Array, Array]:
    mean, scale = X.mean(axis=0), X.std(axis=0)
    if one_unit:
        scale[:] = (X - mean).std()
    scale[np.ptp(X, axis=0) == 0] = 1.0  # a constant column: its deviation is rounding, if not 0
    return mean, scale
