"""The training loop."""

from __future__ import annotations

import contextlib
import itertools
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
from ._data import Problem
from ._setup import Settings, build_loss, build_model, build_optimizer, build_schedule

Array = npt.NDArray[Any]


@dataclass
class Epoch:
    """What is known after an epoch; losses in the units of the loss, the metric is accuracy or R^2."""

    number: int
    train_loss: float
    validation_loss: float
    metric: float
    lr: float


@dataclass
class Result:
    """A finished (or interrupted) run; the model holds the best weights."""

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
        """Optimizer steps per second of training, validation included."""
        return self.steps / self.seconds if self.seconds else 0.0


class Watcher(Protocol):
    """Who is told about the progress."""

    def step(self, done: int, loss: float) -> None:
        """Hear of a step; called after every one."""

    def epoch(self, result: Result) -> None:
        """Hear of an epoch; the last of the history."""


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C into a question (has it been pressed?), so every step is whole; a second one raises."""
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


def batches(n: int, size: int, merge: bool) -> list[slice]:
    """Cut n rows into batches; with ``merge`` a last batch of one row, which has no variance, joins the one before."""
    starts = list(range(0, n, size))
    if merge and n % size == 1 and n > 1:
        starts.pop()
    return [slice(start, stop) for start, stop in itertools.pairwise([*starts, n])]


class Trainer:
    """One training run."""

    def __init__(self, problem: Problem, settings: Settings) -> None:
        init_rng, self._rng = settings.rngs()
        self._problem, self._settings = problem, settings
        self._model = build_model(problem, settings, init_rng)
        self._loss = build_loss(problem)
        self._train = problem.part(problem.train, settings.dtype)
        self._validation = problem.part(problem.validation, settings.dtype)
        self._batches = batches(len(problem.train), settings.batch_size, merge=settings.batch_norm)
        self.total_steps = settings.epochs * len(self._batches)
        self._schedule = build_schedule(settings, self.total_steps)
        self._opt = build_optimizer(self._model, settings, self._schedule)
        names = self._opt.params
        assert isinstance(names, Mapping)  # the groups were given by name
        self._grads = [self._model.grads[name] for name in names]
        self._lookahead = getattr(self._opt, "lookahead", contextlib.nullcontext)
        self._best: dict[str, Array] | None = None
        self._since_best = 0
        self._result = Result(self._model, settings, self._schedule(settings.warmup + 1))

    def run(self, watcher: Watcher) -> Result:
        """Train until epochs, patience or finite numbers end, or Ctrl-C; then restore the best weights."""
        result, started = self._result, time.perf_counter()
        with interruptible() as stop, np.errstate(over="ignore", invalid="ignore"):
            for number in range(1, self._settings.epochs + 1):
                train_loss = self._pass_over_rows(watcher, stop)
                result.seconds = time.perf_counter() - started
                if stop() or not math.isfinite(train_loss):
                    result.interrupted, result.diverged = stop(), not stop()
                    break
                self._validate(number, train_loss)
                watcher.epoch(result)
                if 0 < self._settings.patience <= self._since_best:
                    break
            result.seconds = time.perf_counter() - started
        if self._best is not None:
            self._model.load_state_dict(self._best)
        if not result.diverged or self._best is not None:
            test = self._problem.part(self._problem.test, self._settings.dtype)
            result.test_loss, result.test_metric = self._evaluate(*test)
        return result

    def _pass_over_rows(self, watcher: Watcher, stop: Callable[[], bool]) -> float:
        """Take one epoch of steps; the mean loss of its rows, or what is not finite."""
        x, y = self._train
        order = self._rng.permutation(len(x))
        x, y = x[order], y[order]
        total = 0.0
        model, loss, opt, clip = self._model, self._loss, self._opt, self._settings.clip_norm
        for batch in self._batches:
            rows = x[batch]
            with self._lookahead():
                outputs = model.forward(rows, training=True)
                value, dy = loss.value_and_gradient(outputs, y[batch])
                model.backward(dy)
            if not math.isfinite(value):
                return value
            opt.step(self._grads, clip_norm=clip)
            total += value * len(rows)
            self._result.steps += 1
            watcher.step(self._result.steps, value)
            if stop():
                break
        return total / len(x)

    def _validate(self, number: int, train_loss: float) -> None:
        averaged = self._opt.averaged if self._settings.ema is not None else contextlib.nullcontext
        with averaged():
            validation_loss, metric = self._evaluate(*self._validation)
            done = Epoch(number, train_loss, validation_loss, metric, self._schedule(self._result.steps))
            best = self._result.best
            self._since_best += 1
            if best is None or validation_loss < best.validation_loss:
                self._best, self._result.best, self._since_best = self._model.state_dict(), done, 0
        self._result.history.append(done)
        plateau = getattr(self._schedule, "schedule", self._schedule)
        if isinstance(plateau, schedules.ReduceOnPlateau):
            plateau.observe(validation_loss)

    def _evaluate(self, x: Array, y: Array) -> tuple[float, float]:
        """Loss and metric on some rows."""
        outputs = self._model.predict(x)
        value = self._loss(outputs, y)
        if self._problem.task == "classification":
            return value, float(np.mean(outputs.argmax(axis=1) == y))
        residual, spread = float(np.sum((outputs - y) ** 2)), float(np.sum((y - y.mean()) ** 2))
        return value, 1.0 - residual / spread if spread > 0 else math.nan
