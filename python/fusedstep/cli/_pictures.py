"""Pictures of training curves and of predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .._base.files import replacing
from .._base.optional import need
from ._training import Result

DPI, MOST_NAMES = 120, 20


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


def draw_comparison(path: Path, results: dict[str, list[Result]], title: str) -> None:
    """Draw the training loss and the validation loss of all optimizers: the means and the ranges over the seeds."""
    figure, (left, right) = _figure(2, (12, 5))
    styles = ("-", "--", "-.", ":")
    begun = {name: [run for run in runs if run.history] for name, runs in results.items()}
    begun = {name: runs for name, runs in begun.items() if runs}
    for i, (name, runs) in enumerate(begun.items()):
        look = {"color": f"C{i % 10}", "linestyle": styles[i % 4], "label": f"{name} (lr {runs[0].lr:g})"}
        for axes, what in ((left, "train_loss"), (right, "validation_loss")):
            _draw_runs(axes, [[getattr(epoch, what) for epoch in run.history] for run in runs], look)
    for axes, what in ((left, "Training loss"), (right, "Validation loss")):
        _label(axes, what, "loss (mean over rows, log scale)")
        axes.set_yscale("log")
    if begun:
        right.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0))
    figure.suptitle(title)
    _save(figure, path)


def _draw_runs(axes: Any, curves: list[list[float]], look: dict[str, Any]) -> None:
    length = min(map(len, curves))
    epochs, rows = range(1, length + 1), list(zip(*(curve[:length] for curve in curves), strict=True))
    axes.plot(epochs, [sum(row) / len(row) for row in rows], **look)
    if len(curves) > 1:
        axes.fill_between(
            epochs, [min(row) for row in rows], [max(row) for row in rows], alpha=0.15, color=look["color"]
        )


def _figure(columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    # matplotlib's object interface neither chooses a global backend nor opens a window
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


def draw_classes(path: Path, scores: dict[str, Any], title: str) -> None:
    """Draw the confusion matrix, and the share of right predictions against the predicted probability."""
    figure, (left, right) = _figure(2, (12, 5.2))
    names, counts = [str(c["class"]) for c in scores["classes"]], scores["confusion"]
    shares = [[n / max(sum(row), 1) for n in row] for row in counts]
    left.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= MOST_NAMES:
        for i, row in enumerate(counts):
            for j, n in enumerate(row):
                left.text(j, i, str(n), ha="center", va="center", color="white" if shares[i][j] > 0.6 else "black")
        left.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        left.set_yticks(range(len(names)), names)
    left.set(title="Rows of each class, and their predicted classes", xlabel="predicted", ylabel="class")
    curve = scores["calibration"]
    right.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="perfect calibration")
    right.plot([b["probability"] for b in curve], [b["right"] for b in curve], "o-", label="these rows, in bins")
    for b in curve:
        right.annotate(str(b["rows"]), (b["probability"], b["right"]), xytext=(4, -12), textcoords="offset points")
    right.set(
        xlabel="probability of the predicted class", ylabel="share of right predictions", xlim=(0, 1.02), ylim=(0, 1.02)
    )
    right.set_title("Calibration (with the number of rows in each bin)")
    right.grid(alpha=0.3)
    right.legend(loc="upper left")
    figure.suptitle(title)
    _save(figure, path)


def draw_values(path: Path, target: Any, found: Any, error: float | None, unit: str, title: str) -> None:
    """Draw the predictions against the target, and a histogram of the residuals."""
    figure, (left, right) = _figure(2, (12, 5.2))
    low, high = min(target.min(), found.min()), max(target.max(), found.max())
    left.plot([low, high], [low, high], color="0.6", linestyle="--", label="exact")
    if error is not None:
        left.fill_between([low, high], [low - error, high - error], [low + error, high + error], alpha=0.12,
                          color="C0", label="90 % interval")  # fmt: skip
    left.plot(target, found, ".", alpha=max(0.15, min(1.0, 300 / len(target))))
    left.set(title="Predictions", xlabel=unit, ylabel=f"predicted {unit}")
    left.legend(loc="upper left")
    left.grid(alpha=0.3)
    right.hist(found - target, bins="auto" if len(target) < 5000 else 80)
    right.axvline(0, color="0.6", linestyle="--")
    right.set(title="Residuals", xlabel=f"predicted - actual {unit}", ylabel="rows")
    right.grid(alpha=0.3)
    figure.suptitle(title)
    _save(figure, path)
