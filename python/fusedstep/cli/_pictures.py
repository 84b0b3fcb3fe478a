"""Pictures of training: curves of one run, and of all optimizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .._base.files import replacing
from .._base.optional import need
from ._training import Result

DPI = 120


def draw_curves(path: Path, result: Result, title: str, metric: str) -> None:
    """Draw losses, the validation metric and the learning rate of one run over its epochs."""
    figure, (left, middle, right) = _figure(3, (13, 4.2))
    history, best = result.history, result.best
    epochs = [e.number for e in history]
    left.plot(epochs, [e.train_loss for e in history], label="training (mean over the epoch)")
    left.plot(epochs, [e.validation_loss for e in history], label="validation")
    _label(left, "Loss", "loss (mean over rows, log scale)")
    left.set_yscale("log")
    middle.plot(epochs, [e.metric for e in history], color="C1", label=f"validation {metric}")
    middle.axhline(
        result.test_metric, color="C2", linestyle="--", label=f"test, best weights: {result.test_metric:.4f}"
    )
    _label(middle, f"Validation {metric}", metric)
    right.plot(epochs, [e.lr for e in history], color="C3", label="at the end of the epoch")
    _label(right, f"Learning rate ({result.settings.schedule})", "learning rate")
    right.set_ylim(bottom=0)
    if best is not None:
        for axes in (left, middle):
            axes.axvline(best.number, color="0.5", linestyle=":", label=f"best epoch: {best.number}")
    for axes in (left, middle):
        axes.legend()
    figure.suptitle(title)
    _save(figure, path)


def draw_comparison(path: Path, results: dict[str, Result], title: str) -> None:
    """Draw the loss curves of all optimizers, training and validation."""
    figure, (left, right) = _figure(2, (12, 5))
    styles = ("-", "--", "-.", ":")
    begun = {name: result for name, result in results.items() if result.history}
    for i, (name, result) in enumerate(begun.items()):
        epochs = [e.number for e in result.history]
        look = {"color": f"C{i % 10}", "linestyle": styles[i % 4], "label": f"{name} (lr {result.lr:g})"}
        left.plot(epochs, [e.train_loss for e in result.history], **look)
        right.plot(epochs, [e.validation_loss for e in result.history], **look)
    for axes, what in ((left, "Training loss"), (right, "Validation loss")):
        _label(axes, what, "loss (mean over rows, log scale)")
        axes.set_yscale("log")
    if begun:
        right.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0))
    figure.suptitle(title)
    _save(figure, path)


def _figure(columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    # the object interface: no global backend is chosen, no window can open
    figure = need("matplotlib.figure", "matplotlib").Figure(figsize=size, layout="constrained")
    need("matplotlib.backends.backend_agg", "matplotlib").FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns)


def _label(axes: Any, title: str, y: str) -> None:
    axes.set(title=title, xlabel="epoch", ylabel=y)
    axes.grid(alpha=0.3)
    axes.xaxis.set_major_locator(need("matplotlib.ticker", "matplotlib").MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")
