"""The folder for the files of a run. It is created before the training, and never contains files of two runs."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from ._errors import UsageError

MODEL, CURVES, SCORES, HISTORY = "model.safetensors", "curves.png", "metrics.json", "history.csv"
PREDICTIONS, PAGE, CONFUSION, RESIDUALS = "predictions.csv", "report.html", "confusion.png", "residuals.png"
COMPARISON, COMPARISON_TABLE = "compare.png", "compare.csv"
CHECKPOINT, OPTIMIZER = "checkpoint.safetensors", "checkpoint-optimizer.safetensors"
FILES = (
    MODEL, CURVES, SCORES, HISTORY, PREDICTIONS, PAGE, CONFUSION, RESIDUALS, COMPARISON, COMPARISON_TABLE,
    CHECKPOINT, OPTIMIZER,
)  # fmt: skip


def open_folder(name: str, files: Sequence[str] = FILES) -> Path:
    """Make the folder for the results, before the training begins. `files` are the names of the files to be written.

    Raises
    ------
    UsageError
        If the folder cannot be made, is not writable, or contains a directory with the name of one of the files.
    """
    path = Path(name)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: an invalid file name
        raise UsageError(f"--out: cannot make the directory {name}: {getattr(error, 'strerror', error)}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(f"--out: cannot write into the directory {name}")
    for file in files:
        if (path / file).is_dir():
            raise UsageError(f"--out: {path / file} must not be a directory, because a file gets this name")
    return path


def set_aside(path: Path, files: Sequence[str] = FILES) -> Path | None:
    """Move the files of an earlier run from `path` into a new folder, and return the new folder.

    The new folder is the first of path/run-1, path/run-2, ... that does not exist yet. If `path` contains none of
    `files`, return None.
    """
    there = [path / file for file in files if (path / file).exists()]
    if not there:
        return None
    folder = next(f for n in itertools.count(1) if not (f := path / f"run-{n}").exists())
    folder.mkdir()
    for file in there:
        os.replace(file, folder / file.name)
    return folder
