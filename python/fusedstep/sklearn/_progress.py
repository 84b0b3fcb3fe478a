"""The output of `verbose`: a progress bar if rich can show one in a terminal or notebook, else one line per epoch."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any, NamedTuple

from ._parameters import Parameters


class Epoch(NamedTuple):
    """The argument `epoch` of a callback.

    Attributes
    ----------
    number : int
        Number of the epoch. The first epoch is 1.
    loss : float
        Mean loss of the epoch's training rows, including penalties.
    score : float or None
        Score of the validation rows. None if there are no validation rows.
    learning_rate : float
        Learning rate of the last step of the epoch.
    """

    number: int
    loss: float
    score: float | None
    learning_rate: float


class Progress:
    """Shows the epochs of one fit if `verbose` is set."""

    def __init__(self, estimator: Parameters, epochs: int) -> None:
        self._verbose, self._epochs = bool(estimator.verbose), epochs
        self._bar: Any = _bar() if self._verbose and epochs > 1 else None

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=self._epochs)
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, epoch: Epoch) -> None:
        """Show an epoch's loss and score."""
        if not self._verbose:
            return
        score = "" if epoch.score is None else f", validation score = {epoch.score:.6f}"
        if self._bar is not None:
            self._bar.update(self._task, advance=1, description=f"loss = {epoch.loss:.6f}{score}")
        else:
            print(f"Iteration {epoch.number}, loss = {epoch.loss:.8f}{score}")

    def say(self, text: str) -> None:
        """Print a message, such as why the training ends."""
        if self._bar is not None:
            self._bar.console.print(text)
        elif self._verbose:
            print(text)


def _bar() -> Any:
    """Return a progress bar, or None if rich is missing or the output is neither a terminal nor a notebook."""
    if find_spec("rich") is None:
        return None
    console = importlib.import_module("rich.console").Console()
    if not (console.is_terminal or console.is_jupyter):
        return None
    parts: Any = importlib.import_module("rich.progress")
    columns = (parts.MofNCompleteColumn(), parts.BarColumn(20), parts.TextColumn("{task.description}"))
    return parts.Progress(*columns, parts.TimeRemainingColumn(), console=console)
