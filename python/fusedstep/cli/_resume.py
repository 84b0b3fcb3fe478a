"""The state of a run, from which the run can be resumed.

After every epoch, the state is copied in memory. At intervals and at the end of the run, the last copy is written into
the folder of the run.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._base.files import read_tensors, replacing
from .._base.optional import need
from ._data import Problem
from ._errors import UsageError
from ._folder import CHECKPOINT, OPTIMIZER

FORMAT = 1


@dataclass
class Snapshot:
    """The state of a run after an epoch."""

    facts: dict[str, Any]  # JSON data
    weights: Any
    best_weights: Any
    optimizer: dict[str, Any]


def take(trainer: Any) -> Snapshot:
    """Copy the state of the run."""
    result, plateau = trainer.result, trainer.plateau
    facts = {
        "history": [asdict(epoch) for epoch in result.history],
        "best": result.best.number if result.best else None,
        "steps": result.steps,
        "rng": trainer.rng.bit_generator.state,
        "stopping": trainer.stopping.state_dict(),
        "plateau": plateau.state_dict() if plateau else None,
    }
    trainer_weights = trainer.model.state_dict()
    return Snapshot(facts, trainer_weights, trainer.stopping.best_weights, trainer.optimizer.state_dict())


def write(folder: Path, trainer: Any, words: list[str]) -> None:
    """Write the last snapshot and `words` into the folder. If no epoch is complete, do nothing.

    `words` are the words of the command that repeats the run. Before the trainer's optimizer is saved, its
    state is set back to the state in the last snapshot.
    """
    snapshot: Snapshot | None = trainer.snapshot
    if snapshot is None:
        return
    arrays = {f"model.{name}": a for name, a in snapshot.weights.items()}
    arrays |= {f"best.{name}": a for name, a in snapshot.best_weights.items()}
    about = {"format": FORMAT, "words": words, "data": fingerprint(trainer.problem), **snapshot.facts}
    text = json.dumps(about, sort_keys=True, separators=(",", ":"))
    arrays = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
    data = need("safetensors.numpy", "safetensors").save(arrays, metadata={"fusedstep": text})
    trainer.optimizer.load_state_dict(snapshot.optimizer)
    trainer.optimizer.save(folder / OPTIMIZER)
    with replacing(folder / CHECKPOINT) as temporary:
        Path(temporary).write_bytes(data)


def read_words(folder: Path) -> list[str]:
    """Return the words of the command that started the run in this folder.

    Raises
    ------
    UsageError
        If the folder has no run that can be resumed.
    """
    return list(_read(folder)[0]["words"])


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    need("safetensors", "safetensors")
    if not (folder / CHECKPOINT).exists():
        raise UsageError(f"--resume: --out must be the folder of a run; got {folder}, which has no {CHECKPOINT}")
    try:
        _, text, arrays = read_tensors("--resume", folder / CHECKPOINT)
        about = json.loads(text)
        if about["format"] != FORMAT or not all(isinstance(word, str) for word in about["words"]):
            raise ValueError(f"format must be {FORMAT}, and words must be strings; got format {about['format']!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--resume: {folder / CHECKPOINT} is not the saved state of a run: {error}") from None
    return about, arrays


def restore(folder: Path, trainer: Any) -> None:
    """Read the saved state of a run from `folder`, and load it into `trainer`.

    Raises
    ------
    UsageError
        If the data has changed, or if the run does not fit the options.
    """
    about, arrays = _read(folder)
    if about["data"] != fingerprint(trainer.problem):
        raise UsageError("--resume: the data or its columns have changed since the run began")
    if trainer.total_epochs <= len(about["history"]):
        done = len(about["history"])
        raise UsageError(
            f"--resume: --epochs must be above {done}, the number of epochs that the run has finished; "
            f"got {trainer.total_epochs}"
        )
    parts = ({name.removeprefix(p): a for name, a in arrays.items() if name.startswith(p)} for p in ("model.", "best."))
    try:
        trainer.put(about, *parts)
        trainer.optimizer.load(folder / OPTIMIZER)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise UsageError(f"--resume: the run in {folder} does not fit these options: {error}") from None
    if trainer.optimizer.steps != about["steps"]:
        raise UsageError(
            f"--resume: {CHECKPOINT} and {OPTIMIZER} in {folder} must be from the same epoch; got files of two epochs"
        )


def fingerprint(problem: Problem) -> str:
    """Return a hash of the training data."""
    found = hashlib.sha256()
    for array in (problem.table.X, problem.y, problem.train, problem.validation):
        found.update(np.ascontiguousarray(array).tobytes())
    found.update(json.dumps([problem.table.feature_names, copy.copy(problem.classes)]).encode())
    return found.hexdigest()
