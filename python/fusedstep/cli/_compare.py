"""``fusedstep compare``: every optimizer on the same network, data, initial weights and batches."""

from __future__ import annotations

import argparse
import math

from .._base.optional import need
from ._errors import INTERRUPTED
from ._pictures import draw_comparison
from ._report import Screen
from ._setup import Settings
from ._train import describe, network, open_directory, open_problem
from ._training import Result, Trainer, interruptible


def run(args: argparse.Namespace) -> int:
    """Train with each optimizer, draw and report; return the exit status."""
    need("matplotlib.figure", "matplotlib")
    screen, problem = Screen(), open_problem(args)
    out = open_directory(args.out)
    chosen = [Settings.of(args, optimizer=name, extra=[]) for name in dict.fromkeys(args.optimizers)]
    screen.line(describe(problem))
    screen.line(f"{network(problem, chosen[0])}, {args.schedule} schedule")
    results: dict[str, Result] = {}
    with interruptible() as stop:
        for settings in chosen:
            trainer = Trainer(problem, settings)
            title = f"{settings.optimizer:9}"
            with screen.watch(title, trainer.total_steps, settings.epochs, problem.metric_name, lines=1) as watcher:
                results[settings.optimizer] = trainer.run(watcher, stop)
            if stop():
                break
        path = out / "compare.png"
        title = f"{problem.table.name}: {network(problem, chosen[0])}, {args.schedule} schedule"
        draw_comparison(path, results, title)
        columns = ["optimizer", "lr", "training loss", "best val loss", f"val {problem.metric_name}",
                   f"test {problem.metric_name}", "steps/s"]  # fmt: skip
        ranked = sorted(results.items(), key=lambda item: _best_loss(item[1]))
        screen.table("Optimizers, best first", columns, [_row(name, result) for name, result in ranked])
        screen.line(f"curves: {path}")
        return INTERRUPTED if stop() else 0


def _best_loss(result: Result) -> float:
    return result.best.validation_loss if result.best else math.inf


def _row(name: str, result: Result) -> list[str]:
    if result.best is None:
        return [name, f"{result.lr:g}", "not finite" if result.diverged else "-", "-", "-", "-", "-"]
    losses = (result.history[-1].train_loss, result.best.validation_loss)
    scores = (result.best.metric, result.test_metric)
    cells = [*(f"{x:.3g}" for x in losses), *(f"{x:.4f}" for x in scores)]
    return [name, f"{result.lr:g}", *cells, f"{result.steps_per_second:,.0f}"]
