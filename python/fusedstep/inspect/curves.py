"""Training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._functions import new_axes


def plot_curves(
    curves: Mapping[str, Sequence[float]],
    ax: Any = None,
    *,
    best: str | None = None,
    xlabel: str = "epoch",
    ylabel: str = "loss",
    log: bool = False,
) -> Any:
    """Draw curves, such as the training loss and the validation loss, over the epochs.

    Parameters
    ----------
    curves : {name: values}
        Each curve has one value per epoch. The curves may have different lengths.
    ax : matplotlib axes, optional
        Axes to draw in. By default, a new figure is made.
    best : str, optional
        Name of a curve, for example "validation". The epoch of this curve's smallest value is marked.
    xlabel, ylabel : str
        Labels of the axes.
    log : bool
        If True, the axis of the values is logarithmic.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    TypeError, ValueError
        If `curves` is not a dict or is empty, or if `best` is not the name of a curve.
    ImportError
        If matplotlib is not installed. Install it with ``pip install 'fusedstep[inspect]'``.

    Examples
    --------
    >>> ax = plot_curves({"training": [2.0, 1.0, 0.5], "validation": [2.0, 1.5, 1.75]}, best="validation")
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['training', 'validation', 'best epoch: 2']
    """
    if not isinstance(curves, Mapping):
        raise TypeError(f"plot_curves: curves must be a dict of names and their values; got {type(curves).__name__}")
    if not curves:
        raise ValueError("plot_curves: curves must hold at least one curve; got none")
    if best is not None and best not in curves:
        raise ValueError(f"plot_curves: best must be one of {list(curves)}; got {best!r}")
    ax = new_axes(ax)
    for name, values in curves.items():
        ax.plot(np.arange(1, len(values) + 1), values, label=name)
    if best is not None:
        epoch = int(np.nanargmin(np.asarray(curves[best], np.float64))) + 1
        ax.axvline(epoch, color="0.5", linestyle=":", label=f"best {xlabel}: {epoch}")
    ax.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(alpha=0.3)
    ax.legend()
    return ax
