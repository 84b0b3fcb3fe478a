"""The training loop."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .. import nn, schedules
from ..stopping import EarlyStopping
from . import _resume
from ._data import Problem
from ._setup import Settings, build_loss, build_model, build_optimizer, build_schedule

Array = npt.NDArray[Any]


@dataclass
class Epoch:
    """The losses, the metric (accuracy or R^2) and the learning rate of an epoch."""

    number: int
    train_loss: float
    validation_loss: float
    metric: float
    lr: float


@dataclass
class Result:
    """The result of a finished or interrupted run. The model has the best weights."""

    model: nn.Sequential
    settings: Settings
    lr: float
    history: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    steps: int = 0
    seconds: float = 0.0
    test_loss: float = math.nan
    test_metric: float = math.nan
    interrupted: bool = False
    diverged: bool = False

    @property
    def steps_per_second(self) -> float:
        """Optimizer steps per second of training. The time includes validation."""
        return self.steps / self.seconds if self.seconds else 0.0


class Watcher(Protocol):
    """An object that receives the progress of a run."""

    def step(self, done: int, loss: float) -> None:
        """Receive the number of steps so far and the loss. `Trainer.run` calls this method after every step."""

    def epoch(self, result: Result) -> None:
        """Receive the result after every epoch. The last entry of ``result.history`` is this epoch."""


def never() -> bool:
    """Return False, so that the training does not stop."""
    return False


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Make the first Ctrl-C set a flag. The training reads it between steps, so that steps and files are complete.

    A second Ctrl-C raises KeyboardInterrupt.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return

    def note(signum: int, frame: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


class Trainer:
    """One training run."""

    def __init__(self, problem: Problem, settings: Settings, keep: bool = False) -> None:
        """Make the network, loss, optimizer and batches. If `keep`, copy the state after each epoch, for `--resume`."""
        init_rng, self._rng = settings.rngs()
        self._keep, self._done = keep, 0
        self.snapshot: _resume.Snapshot | None = None
        self._problem, self._settings = problem, settings
        self._model = build_model(problem, settings, init_rng)
        self._loss = build_loss(problem)
        self._train = problem.part(problem.train, settings.dtype)
        self._validation = problem.part(problem.validation, settings.dtype)
        weights = problem.weights(settings.class_weight, settings.dtype)
        self._batches = nn.Batches(*self._train, weights, size=settings.batch_size, merge_single=settings.batch_norm)
        self.total_steps = settings.epochs * len(self._batches)
        self._schedule = build_schedule(settings, self.total_steps)
        self._opt = build_optimizer(self._model, settings, self._schedule)
        self._steps = nn.Trainer(self._model, self._loss, self._opt, clip_norm=settings.clip_norm)
        self._stopping = EarlyStopping(self._model, settings.patience or None)
        self._result = Result(self._model, settings, self._schedule(settings.warmup + 1))

    def run(self, watcher: Watcher, stop: Callable[[], bool] = never) -> Result:
        """Train, then restore the best weights.

        The training ends after the last epoch. It ends earlier if the patience is used up, if a loss is not finite, or
        if `stop` returns True.
        """
        result, started = self._result, time.perf_counter() - self._result.seconds

        def after_step(value: float) -> bool:
            result.steps = self._opt.steps
            watcher.step(result.steps, value)
            return stop()

        def validate(loss: float) -> float:
            result.seconds = time.perf_counter() - started
            return self._validate(loss)

        def order() -> Array:
            return self._rng.permutation(len(self._problem.train))

        epochs = self._settings.epochs - self._done
        for loss in self._steps.fit(self._batches, epochs, order=order, stop=after_step, validate=validate):
            if stop() or not math.isfinite(loss):
                result.interrupted, result.diverged = stop(), not stop()
                break
            if self._keep:
                self.snapshot = _resume.take(self)
            watcher.epoch(result)
            if self._stopping.stop:
                break
        result.seconds = time.perf_counter() - started
        if result.best is not None:
            self._stopping.restore()
        if not result.diverged or result.best is not None:
            test = self._problem.part(self._problem.test, self._settings.dtype)
            result.test_loss, result.test_metric = self._evaluate(*test)
        return result

    # The state from which a run can be resumed
    @property
    def plateau(self) -> schedules.ReduceOnPlateau | None:
        """The schedule if it is a `ReduceOnPlateau`, which has a state, else None."""
        plateau = getattr(self._schedule, "schedule", self._schedule)
        return plateau if isinstance(plateau, schedules.ReduceOnPlateau) else None

    problem = property(lambda self: self._problem)
    model = property(lambda self: self._model)
    optimizer = property(lambda self: self._opt)
    stopping = property(lambda self: self._stopping)
    result = property(lambda self: self._result)
    settings = property(lambda self: self._settings)
    rng = property(lambda self: self._rng)
    total_epochs = property(lambda self: self._settings.epochs)

    def put(self, facts: Mapping[str, Any], weights: Mapping[str, Array], best_weights: Mapping[str, Array]) -> None:
        """Set the state of an earlier run, to continue after its epochs. The optimizer's state is loaded separately."""
        history = [Epoch(**epoch) for epoch in facts["history"]]
        self._model.load_state_dict(best_weights)  # raises an error if the weights do not fit
        self._model.load_state_dict(weights)
        self._stopping.load_state_dict(facts["stopping"], best_weights)
        self._rng.bit_generator.state = facts["rng"]
        if self.plateau is not None:
            self.plateau.load_state_dict(facts["plateau"])
        self._result.history, self._result.steps, self._done = history, int(facts["steps"]), len(history)
        self._result.best = history[facts["best"] - 1] if facts["best"] else None

    def _validate(self, train_loss: float) -> float:
        """Add an epoch to the history. Return its validation loss."""
        result = self._result
        validation_loss, metric = self._evaluate(*self._validation)
        done = Epoch(len(result.history) + 1, train_loss, validation_loss, metric, self._schedule(result.steps))
        self._stopping.observe(validation_loss)
        if self._stopping.is_best:
            result.best = done
        result.history.append(done)
        return validation_loss

    def _evaluate(self, x: Array, y: Array) -> tuple[float, float]:
        """Return the loss and the metric of some rows."""
        outputs = self._model.predict(x)
        value = self._loss(outputs, y)
        if self._problem.task == "classification":
            return value, float(np.mean(outputs.argmax(axis=1) == y))
        residual, spread = float(np.sum((outputs - y) ** 2)), float(np.sum((y - y.mean()) ** 2))
        return value, 1.0 - residual / spread if spread > 0 else math.nan
