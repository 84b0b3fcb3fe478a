"""Compute predictions of rows, score them and write them to a file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import nn
from .._base.files import replacing
from ..nn.sequential import PREDICT_ROWS
from ..nn.threads import largest_weight, one_blas_thread
from ._scores import Scores, score_classes, score_values

Array = npt.NDArray[Any]

UNCERTAINTY = {
    "classification": "uncertainty (entropy of the mean probabilities over the masks, in nats)",
    "regression": "uncertainty (standard deviation over the masks, in units of {})",
}


@dataclass
class Predictions:
    """Predictions of a model: classes or values, and uncertainties if dropout masks were drawn."""

    found: Array  # classes, or values in the units of the target
    p: Array | None  # probabilities of the classes, shape (n, classes)
    uncertainty: Array | None


def predict(model: nn.TrainedModel, rows: Any, masks: int | None = None, seed: int = 0) -> Predictions:
    """Predict rows, which are inputs or a table. With `masks`, average over so many dropout masks drawn from `seed`."""
    with one_blas_thread(PREDICT_ROWS, largest_weight(model.model.layers)):
        return _predict(model, rows, masks, seed)


def _predict(model: nn.TrainedModel, rows: Any, masks: int | None, seed: int) -> Predictions:
    if masks is not None:
        sampled = model.predict_samples(rows, masks, seed % 2**64)
        p = sampled.mean if model.task == "classification" else None
        return Predictions(sampled.prediction, p, sampled.uncertainty)
    if model.task != "classification":
        return Predictions(model.predict(rows), None, None)
    p = model.predict_proba(rows)
    return Predictions(np.asarray(model.classes)[p.argmax(axis=1)], p, None)


def score(model: nn.TrainedModel, said: Predictions, target: Array, known: Array) -> Scores:
    """Return the scores of the predictions, and the scores of a baseline that predicts the same for every row.

    The baseline is computed from `known`, the targets of the training rows. For a classification, `target` and
    `known` contain indices of the model's classes.
    """
    if said.p is not None:
        return score_classes(model.classes, target, said.p, known)
    return score_values(target, said.found, known, model.error)


def write(path: Path, model: nn.TrainedModel, said: Predictions, names: Any, where: str, target: Any = None) -> None:
    """Write the predictions, one line per row.

    Parameters
    ----------
    path : Path
    model : nn.TrainedModel
    said : Predictions
    names : sequence
        The line number or the row number of each row in the data file.
    where : str
        The header of the column with these numbers: "line" or "row".
    target : ndarray, optional
        The true values.
    """
    header: list[Any] = [where]
    columns: list[Any] = [list(names)]
    if target is not None:
        header.append("target")
        columns.append(target.tolist())
    header.append("prediction")
    columns.append(_cells(said.found))
    if said.p is None and model.error is not None:
        header += ["low_90", "high_90"]
        columns += [_cells(said.found - model.error), _cells(said.found + model.error)]
    if said.uncertainty is not None:
        header.append(UNCERTAINTY[model.task].format(model.target_name or "the target"))
        columns.append(_cells(said.uncertainty))
    if said.p is not None:
        header += [f"p({name})" for name in model.classes]
        columns += [_cells(said.p[:, i]) for i in range(said.p.shape[1])]
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *zip(*columns, strict=True)])


def _cells(values: Array) -> list[Any]:
    """Format numbers with six significant digits, because the outputs of a network are not more precise."""
    return [f"{value:.6g}" for value in values] if values.dtype.kind == "f" else values.tolist()


def halves(model: nn.TrainedModel, said: Predictions, target: Array, masks: int) -> list[tuple[str, str]]:
    """Return the scores of all rows, of the half of the rows with the smallest uncertainties, and of the other half."""
    assert said.uncertainty is not None
    order = np.argsort(said.uncertainty, kind="stable")
    certain, rest = order[: len(order) // 2], order[len(order) // 2 :]
    if model.task == "classification":
        what, right = "accuracy", said.found == target
        scores = [np.mean(right[rows]) for rows in (order, certain, rest)]
    else:
        what, wrong = "root mean squared error", said.found - target
        scores = [np.sqrt(np.mean(wrong[rows] ** 2)) for rows in (order, certain, rest)]
    whole, best, others = (f"{score:.4g}" if what != "accuracy" else f"{score:.4f}" for score in scores)
    return [(f"test {what}, {masks} masks", whole), ("most certain half", f"{what} {best}; the rest {others}")]
