"""Read a saved model, and a table of new rows for this model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import nn
from .._base.optional import need
from ..tables import read
from ._data import BUNDLED, find_file, load_table
from ._errors import UsageError
from ._tables import listed, read_npz, read_target

Array = npt.NDArray[Any]


@dataclass
class Rows:
    """Rows for a model. The inputs are a table with the model's columns, or an array. The target may be unknown."""

    name: str
    inputs: Any
    target: Array | None
    names: list[Any]  # the number of each row in the data file
    where: str  # what these numbers count: "line" or "row"
    notes: list[str] = field(default_factory=list)


def load_model(path: str) -> nn.TrainedModel:
    """Read a model that `fusedstep train` wrote.

    Raises
    ------
    UsageError
        If the file does not contain such a model.
    """
    need("safetensors", "safetensors")
    try:
        model = nn.load(path)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not isinstance(model, nn.TrainedModel):
        raise UsageError(
            f"{path}: MODEL must hold a network and the names and scaling of its inputs and outputs; got only a network"
        )
    return model


def load_rows(model: nn.TrainedModel, source: str, with_target: bool) -> Rows:
    """Read rows of data for a model: from a table, an .npz file or a bundled data set.

    In a table, columns that the model does not need are ignored. If `with_target` is False, the target column of a
    table is ignored, too. Other data must have as many columns as the model has inputs.

    Raises
    ------
    UsageError
        If the data cannot be read, if the columns do not fit the model, or if a table has no rows.
    """
    if source in BUNDLED:
        table = load_table(source, None)
        return _array(model, table.name, table.X, table.y)
    path = find_file(source, "DATA")
    if path.suffix.lower() == ".npz":
        table = read_npz(path)
        return _array(model, table.name, table.X, table.y)
    frame = read(path, model.target_name)
    if not len(frame):
        raise UsageError(f"{path.name}: needs at least 1 row of data; got 0")
    return _frame(model, path.name, frame, with_target)


def _array(model: nn.TrainedModel, name: str, X: Array, y: Array) -> Rows:
    if X.shape[1] != len(model.input_mean):
        raise UsageError(f"{name}: X must have {len(model.input_mean)} columns, as in training; got {X.shape[1]}")
    return Rows(name, X, y, list(range(len(X))), "row")


def _frame(model: nn.TrainedModel, name: str, frame: Any, with_target: bool) -> Rows:
    target, notes, there = model.target_name, [], list(frame.columns)
    if with_target and target not in there:
        raise UsageError(f"{name}: must have the target column {target!r}; the columns are {listed(there)}")
    if with_target and frame[target].isna().any():
        count = int(frame[target].isna().sum())
        notes.append(f"rows without a value of {target!r} are left out: {count}")
        frame = frame[frame[target].notna()]
    y = read_target(name, frame[target]) if with_target else None
    known = model.columns.columns if model.columns is not None else []
    used = [c.name for c in known if c.kind != "left out"] or model.feature_names
    missing = [column for column in used if column not in set(there)]
    if missing:
        raise UsageError(f"{name}: must have the columns {listed(used)}; missing: {listed(missing)}")
    silent = {*used, target, *(c.name for c in known)}
    extra = [column for column in there if column not in silent]
    if extra:
        notes.append(f"columns that the training data did not have are left out: {listed(extra)}")
    return Rows(name, frame[used], y, frame.index.tolist(), str(frame.index.name), notes)


def as_labels(model: nn.TrainedModel, rows: Rows) -> Rows:
    """Return the rows with labels (indices of the model's classes) as targets. Remove rows of other classes."""
    assert rows.target is not None
    places = {_plain(name): i for i, name in enumerate(model.classes)}
    labels = np.array([places.get(_plain(y), -1) for y in rows.target.tolist()])
    strange = labels < 0
    if strange.all():
        got = listed([repr(y) for y in dict.fromkeys(rows.target.tolist())])
        need = f"one of the classes {listed([str(c) for c in model.classes])}"
        raise UsageError(f"{rows.name}: the target must be {need}; got {got}")
    if strange.any():
        names = listed([repr(y) for y in dict.fromkeys(rows.target[strange].tolist())])
        count = int(strange.sum())
        rows.notes.append(f"rows of classes that the training data did not have are left out: {count} ({names})")
    kept = np.flatnonzero(~strange)
    inputs = rows.inputs.iloc[kept] if hasattr(rows.inputs, "iloc") else rows.inputs[kept]
    return Rows(rows.name, inputs, labels[kept], [rows.names[i] for i in kept], rows.where, rows.notes)


def _plain(name: Any) -> Any:
    """Return a class as a number if possible, else as a string, so that 1, 1.0 and "1" are equal."""
    try:
        return float(name)
    except (TypeError, ValueError):
        return str(name)
