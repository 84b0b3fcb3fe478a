"""``fusedstep compare`` trains the same network with each optimizer: same initial weights, same batches."""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .._base.files import replacing
from .._base.optional import need
from . import _folder
from ._data import Problem
from ._errors import INTERRUPTED
from ._pictures import draw_comparison
from ._report import Screen
from ._setup import Settings
from ._train import network, open_problem, quiet_blas, show
from ._training import Result, Trainer, interruptible

Results = dict[str, list[Result]]


def run(args: argparse.Namespace) -> int:
    """Train with each optimizer, draw the curves and print the results. Return the exit status."""
    need("matplotlib.figure", "matplotlib")
    screen, problem = Screen(quiet=args.quiet), open_problem(args)
    out = _folder.open_folder(args.out)
    chosen = [Settings.of(args, optimizer=name, extra=[]) for name in dict.fromkeys(args.optimizers)]
    about = f"{network(problem, chosen[0])}, {args.schedule} schedule"
    show(screen, problem, [describe_all(problem, args.seeds), about])
    with interruptible() as stop:
        results = _train_all(screen, problem, chosen, args.seeds, stop)
        aside = _folder.set_aside(out)
        draw_comparison(out / _folder.COMPARISON, results, f"{problem.table.name}: {about}")
        ranked = sorted(results.items(), key=lambda item: _mean(_best_losses(item[1])))
        columns = ["optimizer", "lr", "training loss", "best val loss", f"val {problem.metric_name}",
                   f"test {problem.metric_name}", "steps/s"]  # fmt: skip
        rows = [_row(name, runs) for name, runs in ranked]
        screen.table("Optimizers, lowest best validation loss first", columns, rows)
        with replacing(out / _folder.COMPARISON_TABLE) as temporary:
            _write_runs(Path(temporary), ranked, problem)
        if args.seeds > 1:
            screen.line(f"numbers with +-: mean over {args.seeds} seeds, +- its standard error")
        if aside is not None:
            screen.line(f"files of another run: moved to {aside}")
        screen.line(f"curves: {out / _folder.COMPARISON}")
        return INTERRUPTED if stop() else 0


def describe_all(problem: Problem, seeds: int) -> str:
    """Return a line about the data and the seeds."""
    from ._train import describe

    return describe(problem) + (f"; {seeds} seeds" if seeds > 1 else "")


def _train_all(
    screen: Screen, problem: Problem, chosen: list[Settings], seeds: int, stop: Callable[[], bool]
) -> Results:
    results: Results = {}
    for settings in chosen:
        for seed in range(settings.seed, settings.seed + seeds):
            trainer = Trainer(problem, settings.with_seed(seed))
            title = f"{settings.optimizer:9}" + (f" seed {seed}" if seeds > 1 else "")
            watch = screen.watch(title, trainer.total_steps, settings.epochs, problem.metric_name, lines=1)
            with watch as watcher, quiet_blas(trainer):
                results.setdefault(settings.optimizer, []).append(trainer.run(watcher, stop))
            if stop():
                return results
    return results


def _best_losses(runs: list[Result]) -> list[float]:
    return [run.best.validation_loss if run.best and not run.diverged else math.inf for run in runs]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _cell(values: list[float], form: str) -> str:
    """Return the mean and its standard error as a text. A single value has no standard error."""
    mean = format(_mean(values), form)
    if len(values) < 2:
        return mean
    return f"{mean} +- {np.std(values, ddof=1) / math.sqrt(len(values)):.2g}"


def _row(name: str, runs: list[Result]) -> list[str]:
    good = [run for run in runs if run.best is not None and not run.diverged]
    lr, lost = f"{runs[0].lr:g}", len(runs) - len(good)
    if not good:
        what = "not finite" if any(run.diverged for run in runs) else "-"
        return [name, lr, what, "-", "-", "-", "-"]
    bests = [run.best for run in good if run.best is not None]
    note = f" ({lost} of {len(runs)} not finite)" if lost else ""
    return [
        name,
        lr,
        _cell([run.history[-1].train_loss for run in good], ".3g") + note,
        _cell([best.validation_loss for best in bests], ".3g"),
        _cell([best.metric for best in bests], ".4f"),
        _cell([run.test_metric for run in good], ".4f"),
        f"{_mean([run.steps_per_second for run in good]):,.0f}",
    ]


def _write_runs(path: Path, ranked: list[tuple[str, list[Result]]], problem: Problem) -> None:
    """Write one line per run."""
    metric = problem.metric_name
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["optimizer", "seed", "lr", "train_loss", "best_validation_loss", "best_epoch",
                         f"validation_{metric}", f"test_{metric}", "diverged"])  # fmt: skip
        for name, runs in ranked:
            for run in runs:
                best = run.best
                cells = [best.validation_loss, best.number, best.metric] if best else ["", "", ""]
                loss = run.history[-1].train_loss if run.history else ""
                writer.writerow([name, run.settings.seed, run.lr, loss, *cells, run.test_metric, run.diverged])
