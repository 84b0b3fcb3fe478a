"""Output on the screen: a progress bar and tables in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from .._base.optional import need
from ._training import Result

REDRAW_SECONDS = 0.1


def printable(text: str) -> str:
    """Return the text with a space in place of each character that is not printable."""
    return "".join(c if c.isprintable() else " " for c in text)


class Bar:
    """A progress bar of rich that shows the loss, the validation metric and the speed."""

    def __init__(self, title: str, total_steps: int, metric: str, console: Any) -> None:
        progress = need("rich.progress", "rich")
        self._metric, self._shown, self._started = metric, 0.0, time.perf_counter()
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=None),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[facts]}"),
            progress.TimeRemainingColumn(),
            console=console,
            expand=True,
        )
        self._task = self._bar.add_task(title, total=total_steps, facts="")
        self._scores = ""

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def step(self, done: int, loss: float) -> None:
        """Update the bar, at most a few times per second."""
        now = time.perf_counter()
        if now - self._shown > REDRAW_SECONDS:
            self._shown = now
            self._draw(done, loss)

    def epoch(self, result: Result) -> None:
        """Show the validation metric."""
        self._scores = f"val {self._metric} {result.history[-1].metric:.4f}"
        self._draw(result.steps, result.history[-1].train_loss)

    def _draw(self, done: int, loss: float) -> None:
        speed = done / (time.perf_counter() - self._started)
        facts = "  ".join(part for part in (f"loss {loss:.4f}", self._scores, f"{speed:,.0f} steps/s") if part)
        self._bar.update(self._task, completed=done, facts=facts)


class Lines:
    """Prints at most `lines` plain lines per run, at regular intervals, and one more line for the last epoch."""

    def __init__(self, title: str, epochs: int, metric: str, lines: int) -> None:
        self._title, self._epochs, self._metric = title, epochs, metric
        self._every = -(-epochs // lines)

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def step(self, done: int, loss: float) -> None:
        """Print nothing."""

    def epoch(self, result: Result) -> None:
        """Print a line if the number of the epoch is a multiple of the interval, or if the epoch is the last one."""
        last = result.history[-1]
        if last.number % self._every == 0 or last.number == self._epochs:
            print(
                f"{self._title} epoch {last.number}/{self._epochs}  loss {last.train_loss:.4f}  "
                f"val loss {last.validation_loss:.4f}  val {self._metric} {last.metric:.4f}  "
                f"{result.steps_per_second:,.0f} steps/s",
                flush=True,
            )


class Silence:
    """Shows no progress."""

    def __enter__(self) -> Silence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def step(self, done: int, loss: float) -> None:
        """Print nothing."""

    def epoch(self, result: Result) -> None:
        """Print nothing."""


class Screen:
    """Prints to a terminal with rich, or as plain lines elsewhere. With `quiet`, it prints nothing."""

    def __init__(self, plain: bool = False, quiet: bool = False) -> None:
        self.rich, self._quiet = sys.stdout.isatty() and not plain and not quiet, quiet
        self._console = need("rich.console", "rich").Console(highlight=False) if self.rich else None

    def line(self, text: str) -> None:
        """Print one line."""
        if self._quiet:
            return
        if self._console is None:
            print(printable(text), flush=True)
        else:
            self._console.print(printable(text), markup=False)

    def watch(self, title: str, total_steps: int, epochs: int, metric: str, lines: int = 10) -> Bar | Lines | Silence:
        """Return a context manager that shows the progress of a run. Outside of a terminal, it prints few lines."""
        if self._quiet:
            return Silence()
        if self._console is None:
            return Lines(title, epochs, metric, lines)
        return Bar(title, total_steps, metric, self._console)

    def facts(self, title: str, rows: list[tuple[str, str]]) -> None:
        """Print names and values."""
        if self._quiet:
            return
        if self._console is None:
            for name, value in rows:
                print(f"{printable(name)}: {printable(value)}")
            return
        table = need("rich.table", "rich").Table(title=title, show_header=False, title_justify="left")
        text = need("rich.text", "rich").Text
        table.add_column(style="bold")
        table.add_column()
        for name, value in rows:
            table.add_row(text(printable(name)), text(printable(value)))
        self._console.print(table)

    def table(self, title: str, columns: list[str], rows: list[list[str]], texts: int = 1) -> None:
        """Print a table. The first `texts` columns are texts, the other columns are numbers."""
        if self._quiet:
            return
        rows = [[printable(cell) for cell in row] for row in rows]
        if self._console is None:
            widths = [max(len(line[i]) for line in [columns, *rows]) for i in range(len(columns))]
            for line in [columns, *rows]:
                cells = [
                    c.ljust(w) if i < texts else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
                ]
                print("  ".join(cells).rstrip())
            return
        table = need("rich.table", "rich").Table(title=title, title_justify="left")
        for i, name in enumerate(columns):
            table.add_column(name, justify="left" if i < texts else "right")
        text = need("rich.text", "rich").Text
        for line in rows:
            table.add_row(*(text(cell) for cell in line))
        self._console.print(table)
