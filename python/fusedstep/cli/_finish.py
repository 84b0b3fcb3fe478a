"""Write the results of a run: the model, its scores, its predictions, pictures and a report."""

from __future__ import annotations

import csv
import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, nn
from .._base.files import replacing
from . import _folder, _predictions, _resume
from ._data import Problem
from ._page import Page
from ._pictures import draw_classes, draw_curves, draw_values
from ._predictions import Predictions
from ._report import Screen
from ._scores import Scores, class_table, interval_error, summary
from ._training import Result, Trainer

MOST_PRINTED = 12  # largest number of classes whose scores are printed
Facts = list[tuple[str, str]]


class Finish:
    """Write the files of a run into a folder. Print the results, and the names of the files.

    Parameters
    ----------
    trainer : Trainer
        The trainer, after its run.
    words : list of str
        The words of the command that repeats the run.
    headline : list of str
        Lines that describe the run.
    masks : int, optional
        If given, the predictions of the test rows are means over this number of dropout masks.
    """

    def __init__(self, trainer: Trainer, words: list[str], headline: list[str], masks: int | None) -> None:
        self._trainer, self._words, self._headline, self._masks = trainer, words, headline, masks
        self._problem: Problem = trainer.problem
        self._result: Result = trainer.result

    def write(self, folder: Path, screen: Screen) -> None:
        """Write all files. Files of another run must have been moved before."""
        result, model = self._result, trained(self._problem, self._result)
        said = _predictions.predict(model, self._test_inputs(), self._masks, result.settings.seed)
        scores = self._score(model, said)
        nn.save(folder / _folder.MODEL, model)
        _resume.write(folder, self._trainer, self._words)
        target = true_values(self._problem, self._problem.test)
        names, where = row_names(self._problem, self._problem.test)
        _predictions.write(folder / _folder.PREDICTIONS, model, said, names, where, target)
        self._write_history(folder / _folder.HISTORY)
        facts = self._facts(scores)
        if self._masks is not None:
            facts += _predictions.halves(model, said, target, self._masks)
        self._write_scores(folder / _folder.SCORES, scores)
        self._draw(folder, scores, said)
        self._page(folder, scores, facts)
        screen.facts("Result", facts)
        if "classes" in scores and len(scores["classes"]) <= MOST_PRINTED:
            screen.table("Classes of the test rows", *class_table(scores))
        screen.line(f"model: {folder / _folder.MODEL}")
        there = [name for name in _folder.FILES if name != _folder.MODEL and (folder / name).exists()]
        screen.line(f"other files in this folder: {', '.join(there)}")

    def _test_inputs(self) -> Any:
        return self._problem.table.X[self._problem.test]

    def _score(self, model: nn.TrainedModel, said: Predictions) -> Scores:
        problem = self._problem
        return _predictions.score(model, said, problem.y[problem.test], problem.y[problem.train])

    def _write_history(self, path: Path) -> None:
        fields = ["epoch", "train_loss", "validation_loss", f"validation_{self._problem.metric_name}", "lr"]
        with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(fields)
            writer.writerows(list(asdict(epoch).values()) for epoch in self._result.history)

    def _write_scores(self, path: Path, scores: Scores) -> None:
        result, best = self._result, self._result.best
        about = {
            "fusedstep": __version__,
            "command": shlex.join(self._words),
            "data": self._problem.table.name,
            "target": self._problem.table.target_name,
            "task": self._problem.task,
            "rows": {part: len(getattr(self._problem, part)) for part in ("train", "validation", "test")},
            "best_epoch": asdict(best) if best else None,
            "epochs": len(result.history),
            "steps": result.steps,
            "interrupted": result.interrupted,
            "test": scores,
        }
        with replacing(path) as temporary:
            Path(temporary).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")

    def _facts(self, scores: Scores) -> Facts:
        """Return the scores, the best epoch and the speed of the training, as names and values."""
        result, last = self._result, len(self._result.history)
        rows = [
            (f"test {name}" if i == 0 else name, value.replace(" rows", " rows held out") if i == 0 else value)
            for i, (name, value) in enumerate(summary(scores, self._problem.table.target_name))
        ]
        if result.best is not None:
            best = result.best
            rows.append(
                (f"validation {self._problem.metric_name}", f"{best.metric:.4f}, loss {best.validation_loss:.4f}")
            )
            early = ", stopped early" if not result.interrupted and last < result.settings.epochs else ""
            rows.append(("best epoch", f"{best.number} of {last}{early} (its weights are saved)"))
        if result.interrupted:
            what = "before the end of the first epoch, so train --resume cannot continue this run"
            if self._trainer.snapshot is not None:
                what = "the best weights so far are saved; to continue, use train --resume"
            rows.append(("interrupted", f"at step {result.steps}; {what}"))
        speed = f"{result.steps:,} steps in {result.seconds:.2f} s ({result.steps_per_second:,.0f} steps/s)"
        return [*rows, ("training", speed)]

    def _draw(self, folder: Path, scores: Scores, said: Predictions) -> None:
        problem, title = self._problem, self._headline[1]
        if self._result.history:  # empty if Ctrl-C was pressed in the first epoch
            draw_curves(folder / _folder.CURVES, self._result, title, problem.metric_name)
        title = f"{problem.table.name}: {len(problem.test)} test rows"
        if problem.task == "classification":
            draw_classes(folder / _folder.CONFUSION, scores, title)
        else:
            error = scores.get("interval", {}).get("half_width")
            unit = problem.table.target_name
            draw_values(folder / _folder.RESIDUALS, problem.y[problem.test], said.found, error, unit, title)

    def _page(self, folder: Path, scores: Scores, facts: Facts) -> None:
        problem = self._problem
        page = Page(f"{problem.table.name}: {problem.table.target_name}")
        for line in [*self._headline, *problem.table.notes]:
            page.text(line)
        page.heading("Result")
        page.facts(facts)
        if "classes" in scores:
            page.heading("Classes of the test rows")
            page.table(*class_table(scores))
        page.picture(folder / _folder.CONFUSION, "Confusion matrix and calibration")
        page.picture(folder / _folder.RESIDUALS, "Predictions and residuals")
        page.heading("Curves")
        page.picture(folder / _folder.CURVES, "Losses, validation metric and learning rate over the epochs")
        if problem.columns is not None:
            page.heading("How each column was converted")
            page.table(["column", "kind", "treatment"], problem.columns.table(), texts=3)
        page.heading("The command that repeats the run")
        page.code(shlex.join(self._words))
        page.text(f"fusedstep {__version__}")
        page.write(folder / _folder.PAGE)


def trained(problem: Problem, result: Result) -> nn.TrainedModel:
    """Return the network, with the names and the scaling of its inputs and outputs."""
    model = nn.TrainedModel(
        result.model,
        problem.task,
        problem.input_mean,
        problem.input_scale,
        problem.table.feature_names,
        problem.classes,
        problem.target_mean,
        problem.target_scale,
        problem.columns,
        problem.table.target_name,
    )
    if problem.task == "regression" and len(problem.validation):
        rows = problem.validation
        model.error = interval_error(problem.y[rows], model.predict(problem.table.X[rows]))
    return model


def true_values(problem: Problem, rows: Any) -> Any:
    """Return the targets of some rows, as they are in the data: the names of classes, or values."""
    y = problem.y[rows]
    return np.asarray(problem.classes)[y] if problem.task == "classification" else y


def row_names(problem: Problem, rows: Any) -> tuple[list[Any], str]:
    """Return the numbers of some rows in the data file, and what the numbers count: "line" or "row"."""
    frame = problem.table.frame
    return (rows.tolist(), "row") if frame is None else (frame.index[rows].tolist(), str(frame.index.name))
