"""``fusedstep train``: one network, saved with its curves."""

from __future__ import annotations

import argparse
from pathlib import Path

from .. import nn
from ..nn._optional import need
from . import INTERRUPTED
from ._data import OVERRIDES, Problem, load_table, prepare
from ._errors import UsageError
from ._pictures import draw_curves
from ._report import Screen
from ._samples import write_predictions
from ._setup import Settings
from ._training import Result, Trainer, interruptible


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, save and report; return the exit status."""
    for module, package in (("safetensors.numpy", "safetensors"), ("matplotlib.figure", "matplotlib")):
        need(module, package)  # now, not after the training
    screen, settings = Screen(), Settings.of(args)
    if args.mc_samples is not None and not settings.dropout:
        raise UsageError("--mc-samples needs --dropout above 0: without it all samples are the same")
    problem = open_problem(args)
    out = open_directory(args.out)
    trainer = Trainer(problem, settings)
    screen.line(describe(problem))
    screen.line(f"{network(problem, settings)}, {settings.optimizer}, {settings.schedule} schedule")
    with interruptible() as stop:
        with screen.watch("train", trainer.total_steps, settings.epochs, problem.metric_name) as watcher:
            result = trainer.run(watcher, stop)
        if result.diverged:
            screen.line(_divergence(result))
        if not result.diverged or result.best is not None:
            _save(screen, problem, result, out, args.mc_samples)
        return 1 if result.diverged else INTERRUPTED if stop() else 0


def _save(screen: Screen, problem: Problem, result: Result, out: Path, masks: int | None) -> None:
    """Write the model, the picture and the predictions under so many masks, and tell about them."""
    model_path, curves_path = out / "model.safetensors", out / "curves.png"
    model, summary = trained(problem, result), _summary(problem, result)
    nn.save(model_path, model)
    files = [("model", str(model_path))]
    if result.history:  # there is none if Ctrl-C came in the first epoch
        title = f"{problem.table.name}: {network(problem, result.settings)}, {result.settings.optimizer}"
        draw_curves(curves_path, result, title, problem.metric_name)
        files.append(("curves", str(curves_path)))
    if masks is not None:
        path = out / "predictions.csv"
        summary += write_predictions(path, problem, model, masks, result.settings.seed)
        files.append(("predictions", str(path)))
    screen.facts("Result", summary + files)


def _divergence(result: Result) -> str:
    kept = "the best weights before that were kept" if result.best else "nothing was saved"
    advice = f"a smaller --lr than {result.lr:g} or --clip-norm 1 may help"
    return f"stopped at step {result.steps + 1}: the loss is not finite; {advice}; {kept}"


def open_problem(args: argparse.Namespace) -> Problem:
    """Load and prepare the data that the options name."""
    wishes = {name: getattr(args, name) for name in OVERRIDES}
    return prepare(load_table(args.data, args.target, wishes), args.task, args.split_seed)


def open_directory(name: str) -> Path:
    """Make the directory of the results, before any work is done for it."""
    path = Path(name)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # the latter: no name for a file
        raise UsageError(f"--out: cannot make the directory {name}: {getattr(error, 'strerror', error)}") from None
    return path


def describe(problem: Problem) -> str:
    """Say in one line what the data is."""
    n, width = problem.table.X.shape
    if problem.columns is not None:
        width = len(problem.columns.used)
    what = f"{len(problem.classes)} classes" if problem.task == "classification" else "regression"
    parts = f"{len(problem.train)} training, {len(problem.validation)} validation, {len(problem.test)} test"
    return f"{problem.table.name}: {n} rows ({parts}), {width} features, {what}"


def network(problem: Problem, settings: Settings) -> str:
    """Say in a few words what the network is."""
    widths = [len(problem.input_mean), *settings.hidden, problem.outputs]
    extras = ", batch norm" * settings.batch_norm + f", dropout {settings.dropout:g}" * bool(settings.dropout)
    return f"{'-'.join(map(str, widths))} {settings.activation} network ({settings.dtype}{extras})"


def trained(problem: Problem, result: Result) -> nn.TrainedModel:
    """Put the network together with what its inputs and outputs mean."""
    return nn.TrainedModel(
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


def _summary(problem: Problem, result: Result) -> list[tuple[str, str]]:
    metric, last = problem.metric_name, len(result.history)
    rows = [(f"test {metric}", f"{result.test_metric:.4f} on {len(problem.test)} rows held out")]
    if result.best is not None:
        best = result.best
        rows.append((f"validation {metric}", f"{best.metric:.4f}, loss {best.validation_loss:.4f}"))
        early = ", stopped early" if not result.interrupted and last < result.settings.epochs else ""
        rows.append(("best epoch", f"{best.number} of {last}{early} (its weights are the ones saved)"))
    if result.interrupted:
        what = "the best weights so far were kept" if result.best else "before the end of the first epoch"
        rows.append(("interrupted", f"at step {result.steps}; {what}"))
    speed = f"{result.steps:,} steps in {result.seconds:.2f} s ({result.steps_per_second:,.0f} steps/s)"
    return [*rows, ("training", speed)]
