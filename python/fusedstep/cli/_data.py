"""Turn a table into arrays for a training: decide the task, divide the rows into three parts, and scale the inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._base.optional import need
from ..tables import SUFFIXES, Columns, TableError, read
from ._errors import UsageError
from ._tables import Table, as_number, listed, read_npz, read_target

Array = npt.NDArray[Any]

BUNDLED = ("digits", "breast_cancer", "wine", "diabetes", "iris")
FEWEST_ROWS = 20
MOST_INTEGER_CLASSES = 20  # if the target has more distinct integers, the task is a regression
# Classes with fewer rows than FEWEST_OF_A_CLASS are rare. The share of rows in rare classes may be at most MOST_RARE.
FEWEST_OF_A_CLASS, MOST_RARE = 3, 0.1
OVERRIDES = ("drop", "categorical", "numeric")
MOST_NOTES = 20
TEST_EVERY, VALIDATION_EVERY = 5, 8  # one fifth of the rows is for testing, and one eighth of the rest for validation


@dataclass
class Problem:
    """A task and its data: unscaled inputs, targets (labels or values), and indices of the rows of each part."""

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
    columns: Columns | None = None

    @property
    def outputs(self) -> int:
        """Number of outputs of the network."""
        return len(self.classes) if self.task == "classification" else 1

    @property
    def metric_name(self) -> str:
        """Name of the metric that is reported with the loss."""
        return "accuracy" if self.task == "classification" else "R^2"

    def weights(self, class_weight: str, dtype: npt.DTypeLike) -> Array | None:
        """Return the weight of each training row. If `class_weight` is "none" or the task is a regression, return None.

        With "balanced", a row of class c has the weight n / (k n_c), where n is the number of training rows, k is the
        number of their classes, and n_c is the number of training rows of class c.
        """
        if class_weight == "none" or self.task != "classification":
            return None
        labels = self.y[self.train]
        counts = np.bincount(labels, minlength=len(self.classes))
        found: Array = (len(labels) / (np.count_nonzero(counts) * counts[labels])).astype(dtype)
        return found

    def part(self, rows: Array, dtype: npt.DTypeLike) -> tuple[Array, Array]:
        """Return the scaled inputs and targets of some rows, for the network."""
        x = (self.table.X[rows] - self.input_mean) / self.input_scale
        if self.task == "classification":
            return np.ascontiguousarray(x, dtype), self.y[rows]
        y = (self.y[rows] - self.target_mean) / self.target_scale
        return np.ascontiguousarray(x, dtype), np.ascontiguousarray(y[:, None], dtype)


def load_table(source: str, target: str | None, wishes: dict[str, list[str]] | None = None) -> Table:
    """Load the data of the option ``--data``.

    Parameters
    ----------
    source : str
        Name of a bundled data set, or path of a file.
    target : str or None
        Name of the target column, for a table with named columns. For other data, it must be None.
    wishes : dict
        The column names that the options ``--drop``, ``--categorical`` and ``--numeric`` list. The keys are "drop",
        "categorical" and "numeric".

    Raises
    ------
    UsageError
        If there is no such data, or if it cannot be used.
    """
    asked = {name: names for name, names in (wishes or {}).items() if names}
    options = ", ".join(f"--{name}" for name in ("target", *OVERRIDES))
    if source in BUNDLED:
        if target or asked:
            raise UsageError(f"{options} are for tables with named columns; --data is {source}")
        return _bundled(source)
    path = find_file(source)
    if path.suffix.lower() == ".npz":
        if target or asked:
            raise UsageError(f"{options} are for tables with named columns; a .npz file holds X and y")
        return read_npz(path)
    return from_frame(path.name, read(path, target), target, asked)


def find_file(source: str, argument: str = "--data") -> Path:
    """Return the path of the data file `source`. `argument` is the name of the command's argument, for error messages.

    Raises
    ------
    UsageError
        If the file is missing, is not a regular file, or has an unknown suffix.
    """
    path = Path(source)
    if not path.name.lower().endswith((*SUFFIXES, ".npz")):
        raise UsageError(
            f"{argument} must be {', '.join(BUNDLED)}, or a file ({', '.join(SUFFIXES)}, .npz); got {source!r}"
        )
    if not path.exists():
        raise UsageError(f"{argument}: no such file: {path}")
    if not path.is_file():
        got = f"the {'directory' if path.is_dir() else 'device or pipe'} {path}"
        raise UsageError(f"{argument} must be a file; got {got}")
    return path


def _bundled(name: str) -> Table:
    found = getattr(need("sklearn.datasets", "scikit-learn"), f"load_{name}")()
    y = found.target
    if name not in ("digits", "diabetes"):
        y = np.asarray(found.target_names)[y].astype(np.str_)
    task = "regression" if name == "diabetes" else "classification"
    # all pixels have the same scale, because a scale per pixel would amplify the noise at the edges of the images
    one_unit = name == "digits"
    return Table(name, np.asarray(found.data, np.float64), y, [str(f) for f in found.feature_names], task, one_unit)


def from_frame(name: str, frame: Any, target: str | None, wishes: dict[str, list[str]]) -> Table:
    """Separate the target of a table from the input columns. Leave out rows without a target.

    `name` is the name of the file. `wishes` contains the column names of the options ``--drop``, ``--categorical`` and
    ``--numeric``.

    Raises
    ------
    UsageError
        If the table lacks a column that an option names, if no input column is left, or if the target has invalid
        values.
    """
    header = list(frame.columns)
    named = [("--target", target), *((f"--{option}", one) for option, names in wishes.items() for one in names)]
    for option, column in named:
        if column is None:
            raise UsageError(f"--target is needed with {name}; its columns are {listed(header)}")
        if column not in header:
            raise UsageError(f"{option}: {name} has no column {column!r}; its columns are {listed(header)}")
        if option != "--target" and column == target:
            raise UsageError(f"{option} must name input columns; {column!r} is the target")
    features, notes = frame.drop(columns=target), []
    if not features.shape[1] or set(features.columns) <= set(wishes.get("drop", [])):
        raise UsageError(f"{name}: at least one column besides the target {target!r} must be an input; got none")
    without = frame[target].isna()
    if without.any():
        count = int(without.sum())
        notes.append(f"rows without a value of {target!r} are left out: {count}")
        features, frame = features[~without], frame[~without]
    y = read_target(name, frame[target])
    return Table(name, np.empty((len(y), 0)), y, [], "auto", False, str(target), features, wishes, notes)


def prepare(table: Table, task: str, split_seed: int) -> Problem:
    """Decide the task, encode the target, divide the rows into parts, and compute the scaling from the training rows.

    Raises
    ------
    UsageError
        If there are too few rows or classes, or if the target does not fit the task.
    """
    n = len(table.y)
    if n < FEWEST_ROWS:
        raise UsageError(f"{table.name}: needs at least {FEWEST_ROWS} rows of data; got {n}")
    task = _decide(table, task)
    classes, y = _classes(table) if task == "classification" else ([], _values(table))
    rng = np.random.default_rng(split_seed)
    train, validation, test = _parts(table, classes, y, rng)
    columns = _fit_columns(table, train)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = _scaling(table.X[train], table.one_unit)
    bad = np.flatnonzero(~np.isfinite(mean) | ~np.isfinite(scale))
    if len(bad):
        names = [table.feature_names[i] for i in bad]
        raise UsageError(
            f"{table.name}, column{'s' * (len(bad) > 1)} {', '.join(map(repr, names[:50]))}: "
            "the numbers are too large to be scaled"
        )
    problem = Problem(table, task, classes, y, train, validation, test, mean, scale, columns=columns)
    if task == "regression":
        with np.errstate(over="ignore", invalid="ignore"):
            problem.target_mean, problem.target_scale = float(y[train].mean()), float(y[train].std())
        if not math.isfinite(problem.target_scale):
            raise UsageError(f"{table.name}: the target {table.target_name!r} is too large to be scaled")
        if problem.target_scale == 0:
            raise UsageError(
                f"{table.name}: the target {table.target_name!r} must vary; it is equal in all training rows"
            )
    return problem


def _decide(table: Table, task: str) -> str:
    """Return `task`, the value of the option ``--task``. If it is "auto", return the task of `table` instead.

    If both are "auto", return "classification" if the target has strings or few distinct integers, else "regression".
    """
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
        raise UsageError(f"{what} must have at least two classes; got only {classes[0]!r}")
    rare = counts < FEWEST_OF_A_CLASS
    few = counts.sum() * MOST_RARE
    if rare.any() and (counts[rare].sum() > few or (~rare).sum() < 2):
        rarest = classes[int(counts.argmin())]
        hint = "; is the task a regression (--task regression)?" if names.dtype.kind != "U" else ""
        need = f"at least {FEWEST_OF_A_CLASS} rows of each class"
        raise UsageError(f"{what} must have {need}; got {counts.min()} of class {rarest!r}{hint}")
    return classes, labels.astype(np.intp)


def _parts(table: Table, classes: list[Any], y: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Divide the rows into training, validation and test rows.

    If a class has fewer than FEWEST_OF_A_CLASS rows, all of its rows are training rows.
    """
    rows, strata = np.arange(len(y)), y if classes else np.zeros(len(y), np.intp)
    counts = np.bincount(y, minlength=len(classes)) if classes else np.array([len(y)])
    rare = (counts < FEWEST_OF_A_CLASS)[strata]
    rest, test = _every(rows[~rare], strata, TEST_EVERY, rng)
    train, validation = _every(rest, strata, VALIDATION_EVERY, rng)
    for i in np.flatnonzero(counts < FEWEST_OF_A_CLASS):
        number = f"{counts[i]} row{'s' * int(counts[i] > 1)}"
        table.notes.append(f"class {classes[i]!r} has only {number}: rows of this class are used for training only")
    return np.sort(np.concatenate([train, rows[rare]])), validation, test


def _fit_columns(table: Table, train: Array) -> Columns | None:
    """Turn the columns of a frame into inputs. Only the training rows are used to fit the conversion."""
    if table.frame is None:
        return None
    try:
        columns = Columns.fit(table.frame, train, **table.wishes)
    except TableError as error:
        raise UsageError(f"{table.name}: {error}") from None
    if not columns.used:
        raise UsageError(
            f"{table.name}: at least one column besides the target {table.target_name!r} must be usable; got none"
        )
    table.X, table.feature_names = columns.transform(table.frame), columns.outputs
    for column in columns.columns:
        if column.kind == "left out" and column.note != "as asked" and len(table.notes) < MOST_NOTES:
            table.notes.append(f"column {column.name!r} is left out: {column.note}")
    return columns


def _every(rows: Array, strata: Array, every: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Take a share of 1 / `every` of the rows. Return the remaining rows and the taken rows, both in ascending order.

    `strata` has the class of each row, as a number. The rows are ordered by class, and at random within a class. In
    this order, the first taken row has a random position below `every`. Each later taken row is `every` positions after
    the one before. So the taken rows have nearly the same proportions of the classes as all rows. `every` is at
    least 5. So if a class has five rows or fewer, at most one of them is taken.
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
    scale[np.ptp(X, axis=0) == 0] = 1.0  # the standard deviation of a constant column is 0 or a rounding error
    return mean, scale
