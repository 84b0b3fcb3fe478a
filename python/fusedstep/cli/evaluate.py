"""``fusedstep evaluate`` computes the scores of a saved model on rows whose target is known."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, nn
from .._base.files import replacing
from .._base.optional import need
from . import _folder
from ._errors import UsageError
from ._page import Page
from ._pictures import draw_classes, draw_values
from ._predictions import Predictions, predict, score, write
from ._report import Screen
from ._saved import Rows, as_labels, load_model, load_rows
from ._scores import Scores, class_table, summary


def run(args: argparse.Namespace) -> int:
    """Read the rows, predict them, and compare the predictions with the target. Return 0."""
    need("sklearn.metrics", "scikit-learn")
    screen, model = Screen(quiet=args.quiet), load_model(args.model)
    if args.out is not None:
        need("matplotlib.figure", "matplotlib")
    rows = load_rows(model, args.data, with_target=True)
    rows = as_labels(model, rows) if model.task == "classification" else _as_values(rows)
    assert rows.target is not None
    folder = None if args.out is None else _folder.open_folder(args.out)
    said = predict(model, rows.inputs)
    scores = score(model, said, rows.target, rows.target)
    for note in rows.notes:
        screen.line(note)
    facts = summary(scores, model.target_name or "the target")
    screen.facts("Scores", facts)
    if "classes" in scores:
        screen.table("Classes", *class_table(scores))
    if folder is not None:
        aside = _folder.set_aside(folder)
        if aside is not None:
            screen.line(f"files of another run: moved to {aside}")
        _write(folder, model, rows, said, scores, facts, args)
        screen.line(f"report: {folder / _folder.PAGE}")
    return 0


def _as_values(rows: Rows) -> Rows:
    assert rows.target is not None
    if rows.target.dtype.kind not in "iuf":
        raise UsageError(f"{rows.name}: the target must be numbers, because the model predicts numbers; got strings")
    rows.target = rows.target.astype(np.float64)
    return rows


def _write(
    folder: Path, model: nn.TrainedModel, rows: Rows, said: Predictions, scores: Scores, facts: Any, args: Any
) -> None:
    target: Any = rows.target
    title = f"{args.model} on {rows.name}"
    if model.task == "classification":
        draw_classes(folder / _folder.CONFUSION, scores, title)
        target = np.asarray(model.classes)[target]
    else:
        unit = model.target_name or "target"
        draw_values(folder / _folder.RESIDUALS, target, said.found, model.error, unit, title)
    write(folder / _folder.PREDICTIONS, model, said, rows.names, rows.where, target)
    about = {"fusedstep": __version__, "command": shlex.join(args.words), "data": rows.name, "test": scores}
    with replacing(folder / _folder.SCORES) as temporary:
        Path(temporary).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    page = Page(title)
    for note in rows.notes:
        page.text(note)
    page.facts(facts)
    if "classes" in scores:
        page.table(*class_table(scores))
    page.picture(folder / _folder.CONFUSION, "Confusion matrix and calibration")
    page.picture(folder / _folder.RESIDUALS, "Predictions and residuals")
    page.heading("The command")
    page.code(shlex.join(args.words))
    page.write(folder / _folder.PAGE)
