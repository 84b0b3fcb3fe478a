"""``fusedstep train`` trains a network, and saves it with its scores, predictions, pictures and a report."""

from __future__ import annotations

import argparse
import contextlib
import time
from pathlib import Path
from types import TracebackType

from .._base.optional import need
from ..nn.threads import largest_weight, one_blas_thread
from . import _resume
from ._data import OVERRIDES, Problem, load_table, prepare
from ._errors import INTERRUPTED, UsageError
from ._finish import Finish
from ._folder import open_folder, set_aside
from ._report import Bar, Lines, Screen, Silence
from ._setup import Settings, describe_optimizer
from ._training import Result, Trainer, interruptible

SAVE_SECONDS = 30.0  # shortest time between two saved states


def run(args: argparse.Namespace) -> int:
    """Train, evaluate, save and report. Return the exit status."""
    for module, package in (("safetensors.numpy", "safetensors"), ("matplotlib.figure", "matplotlib")):
        need(module, package)  # raises before the training if the package is missing
    out, args = Path(args.out), resumed(args) if args.resume else args
    screen, settings = Screen(quiet=args.quiet), Settings.of(args)
    if args.mc_samples is not None and not settings.dropout:
        raise UsageError("--mc-samples needs --dropout above 0: without dropout all samples are equal")
    problem = open_problem(args)
    out = open_folder(str(out))
    trainer = Trainer(problem, settings, keep=True)
    if args.resume:
        _resume.restore(out, trainer)
    about = describe_optimizer(trainer.optimizer, settings)
    headline = [describe(problem), network(problem, settings), about]
    show(screen, problem, headline)
    with interruptible() as stop, quiet_blas(trainer):
        watch = screen.watch("train", trainer.total_steps, settings.epochs, problem.metric_name)
        with Saving(watch, out, trainer, args.words, own=args.resume) as watcher:
            result = trainer.run(watcher, stop)
        if result.diverged:
            screen.line(_divergence(result))
        if not result.diverged or result.best is not None:
            watcher.clear_once()
            Finish(trainer, args.words, headline, args.mc_samples).write(out, screen)
            if watcher.aside is not None:
                screen.line(f"files of another run: moved to {watcher.aside}")
        return 1 if result.diverged else INTERRUPTED if stop() else 0


def resumed(args: argparse.Namespace) -> argparse.Namespace:
    """Return the options of the run to resume. An option in the present command replaces the option of that run."""
    from ._options import build_parser

    new = [word for word in args.words[2:] if word != "--resume"]
    words = [*_resume.read_words(Path(args.out)), *new]
    found = build_parser().parse_args(words[1:])
    found.words, found.resume = words, True
    return found


def quiet_blas(trainer: Trainer) -> contextlib.AbstractContextManager[None]:
    """Limit NumPy's matrix products to one thread during the training if the products are small."""
    return one_blas_thread(trainer.settings.batch_size, largest_weight(trainer.model.layers))


class Saving:
    """Shows the progress of a run, and writes the state of the run to the disk.

    Parameters
    ----------
    watch : Bar, Lines or Silence
        Shows the progress.
    folder : Path
        The folder of the run.
    trainer : Trainer
        The trainer of the run.
    words : list of str
        The command that started the run.
    own : bool
        True if the files in the folder belong to this run. Files of another run are moved to another folder before
        this run writes a file.
    """

    def __init__(
        self, watch: Bar | Lines | Silence, folder: Path, trainer: Trainer, words: list[str], own: bool
    ) -> None:
        self._watch, self._folder, self._trainer, self._words, self._own = watch, folder, trainer, words, own
        self.aside: Path | None = None
        self._is_clear = False
        self._saved = time.monotonic()
        self.step = watch.step

    def __enter__(self) -> Saving:
        self._watch.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.__exit__(kind, error, trace)

    def clear_once(self) -> None:
        """Move the files of an earlier run to another folder. Only the first call does so."""
        if not self._is_clear:
            self.aside, self._is_clear = set_aside(self._folder), True

    def epoch(self, result: Result) -> None:
        """Show the epoch. If more than SAVE_SECONDS have passed since the last save or the start, write the state."""
        self._watch.epoch(result)
        now = time.monotonic()
        if now - self._saved > SAVE_SECONDS:
            self._saved = now
            if not self._own:
                self.clear_once()
            self._is_clear = True
            _resume.write(self._folder, self._trainer, self._words)


def show(screen: Screen, problem: Problem, headline: list[str]) -> None:
    """Print the settings of the run, and the conversion of each column."""
    screen.line(headline[0])
    if problem.columns is not None:
        screen.table("Columns", ["column", "kind", "treatment"], problem.columns.table(), texts=3)
    for line in [*problem.table.notes, *headline[1:]]:
        screen.line(line)


def _divergence(result: Result) -> str:
    kept = "the best weights before this step are saved" if result.best else "nothing was saved"
    advice = f"a smaller --lr than {result.lr:g} or --clip-norm 1 may help"
    return f"stopped at step {result.steps + 1}: the loss is not finite; {advice}; {kept}"


def open_problem(args: argparse.Namespace) -> Problem:
    """Load and prepare the data that the options select."""
    wishes = {name: getattr(args, name) for name in OVERRIDES}
    return prepare(load_table(args.data, args.target, wishes), args.task, args.split_seed)


def describe(problem: Problem) -> str:
    """Return a description of the data in one line."""
    n, width = problem.table.X.shape
    if problem.columns is not None:
        width = len(problem.columns.used)
    what = f"{len(problem.classes)} classes" if problem.task == "classification" else "regression"
    parts = f"{len(problem.train)} training, {len(problem.validation)} validation, {len(problem.test)} test"
    return f"{problem.table.name}: {n} rows ({parts}), {width} features, {what}"


def network(problem: Problem, settings: Settings) -> str:
    """Return a short description of the network."""
    widths = [len(problem.input_mean), *settings.hidden, problem.outputs]
    extras = ", batch norm" * settings.batch_norm + f", dropout {settings.dropout:g}" * bool(settings.dropout)
    return f"{'-'.join(map(str, widths))} {settings.activation} network ({settings.dtype}{extras})"
