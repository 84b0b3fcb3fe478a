"""Predictions of the test rows under many dropout masks, with an uncertainty per row."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn
from .._base.files import replacing
from ._data import Problem


def write_predictions(path: Path, problem: Problem, model: nn.TrainedModel, k: int, seed: int) -> list[tuple[str, str]]:
    """Predict the test rows under k masks, write them, and say how far the uncertainty can be trusted.

    The file has a line per test row: its number in the data (from 0), the target, the prediction, the uncertainty
    (entropy in nats, or standard deviation in the target's units) and, for classes, the mean probability of each.
    """
    target = _targets(problem)
    found = model.predict_samples(problem.table.X[problem.test], k, seed % 2**64)
    header: list[Any] = ["row", "target", "prediction", "uncertainty"]
    columns = [problem.test.tolist(), target.tolist(), _cells(found.prediction), _cells(found.uncertainty)]
    for i, name in enumerate(problem.classes):
        header.append(f"p({name})")
        columns.append(_cells(found.mean[:, i]))
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *zip(*columns, strict=True)])
    return _halves(problem, found, target, k)


def _targets(problem: Problem) -> Any:
    y = problem.y[problem.test]
    return np.asarray(problem.classes)[y] if problem.task == "classification" else y


def _cells(values: Any) -> list[Any]:
    """Six digits are what the masks let one know, at most."""
    return [f"{value:.6g}" for value in values] if values.dtype.kind == "f" else values.tolist()


def _halves(problem: Problem, found: nn.SampledPrediction, target: Any, k: int) -> list[tuple[str, str]]:
    """Compare the half of the rows that the model is most certain of with the rest."""
    order = np.argsort(found.uncertainty, kind="stable")
    certain, rest = order[: len(order) // 2], order[len(order) // 2 :]
    if problem.task == "classification":
        what, right = "accuracy", found.prediction == target
        scores = [np.mean(right[rows]) for rows in (order, certain, rest)]
    else:
        what, wrong = "root mean squared error", found.prediction - target
        scores = [np.sqrt(np.mean(wrong[rows] ** 2)) for rows in (order, certain, rest)]
    whole, best, others = (f"{score:.4g}" if what != "accuracy" else f"{score:.4f}" for score in scores)
    return [
        (f"test {what}, {k} masks", whole),
        ("most certain half", f"{what} {best}; the rest {others}"),
    ]
