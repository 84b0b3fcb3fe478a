"""Code that the pages of the gallery share: data, a small network, a training loop, intervals, and a plot style."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import pairwise
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from scipy.stats import t as student
from sklearn import datasets
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from fusedstep import nn

threadpool_limits(1)  # the matrices are so small that a second thread takes more time than it saves
SEEDS = range(5)
# Okabe and Ito's colours without yellow. Colour-blind readers can distinguish them on a white background.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
STYLE = {
    "axes.prop_cycle": cycler(linestyle=["-", "--"]) * cycler(color=COLORS),
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.alpha": 0.3,
    "image.cmap": "cividis",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
Array = np.ndarray[Any, Any]


class Data(NamedTuple):
    """The training rows and the test rows, with their targets."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


def load(name: str, rows: int | None = None, seed: int = 0, dtype: type = np.float32) -> Data:
    """Load one of scikit-learn's data sets and split it into training rows and test rows.

    `rows` is the number of training rows (by default two thirds of all rows). Pixels of "digits" are scaled to
    [0, 1]. Other features, and the target of "diabetes", are standardised.
    """
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    classes = None if name == "diabetes" else y
    x, x_test, y, y_test = train_test_split(
        x, y, train_size=rows or 2 * len(x) // 3, random_state=seed, stratify=classes
    )
    if name == "digits":
        x, x_test = x / 16, x_test / 16
    else:
        scaler = StandardScaler().fit(x)
        x, x_test = scaler.transform(x), scaler.transform(x_test)
    if classes is None:
        y, y_test = ((part[:, None] - y.mean()) / y.std() for part in (y, y_test))
        return Data(*(part.astype(dtype) for part in (x, y, x_test, y_test)))
    return Data(x.astype(dtype), y, x_test.astype(dtype), y_test)


def wrong_labels(y: Array, share: float, seed: int = 0) -> Array:
    """Return a copy of the labels of "digits". A share of them (such as 0.2) is replaced by random labels."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(y)) < share, rng.integers(10, size=len(y)), y)


def mlp(
    *widths: int, activation: type[nn.Layer] = nn.ReLU, dropout: float = 0.0, mode: str = "inverted", **options: Any
) -> nn.Sequential:
    """Return a network of linear layers, with an activation (and dropout, if `dropout` > 0) between them.

    `widths` are the numbers of inputs and outputs: `mlp(64, 32, 10)` has a layer from 64 to 32 and one from 32 to 10.
    """
    layers: list[nn.Layer] = []
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        if i:
            layers += [activation(), *([nn.Dropout(dropout, mode=mode)] if dropout else [])]
        layers.append(nn.Linear(n_in, n_out))
    return nn.Sequential(*layers, **options)


def training(
    model: nn.Sequential,
    opt: Any,
    x: Array,
    y: Array,
    *,
    epochs: int,
    batch: int = 32,
    loss: nn.Loss | None = None,
    change: Callable[[Array, Array], tuple[Array, Array]] | None = None,
    around: Callable[[], Any] = nullcontext,
    seed: int = 0,
) -> Iterator[float]:
    """Train a model. After every epoch, yield the mean loss of the epoch's batches.

    `change(rows, targets)` gets the rows and targets of a batch, and returns those that the model learns instead.
    `around()` returns a context manager, and the gradient of a batch is computed inside this context manager.
    """
    rng, trainer = np.random.default_rng(seed), nn.Trainer(model, loss or nn.SoftmaxNLL(), opt, around=around)
    batches = nn.Batches(x, y, size=batch, merge_single=True)
    for _ in range(epochs):
        epoch = batches.epoch(rng.permutation(len(x)))
        yield trainer.epoch(epoch if change is None else (nn.Batch(*change(part.x, part.targets)) for part in epoch))


def accuracy(model: nn.Sequential, x: Array, y: Array) -> float:
    """Return the accuracy: the share of rows whose largest output belongs to the right class."""
    return float(np.mean(model.predict(x).argmax(axis=1) == y))


class Interval(NamedTuple):
    """A mean over runs, and half the width of the 95% interval of this mean."""

    mean: Any
    half: Any

    @property
    def low(self) -> Any:
        """The lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> Any:
        """The upper end of the interval."""
        return self.mean + self.half

    def __format__(self, form: str) -> str:
        return f"{self.mean:{form}} ± {self.half:{form.removeprefix('+')}}"


def interval(runs: Any) -> Interval:
    """Return the mean over the first axis, with its 95% interval (Student's t)."""
    runs = np.asarray(runs, np.float64)
    n = len(runs)
    return Interval(runs.mean(axis=0), student.ppf(0.975, n - 1) * runs.std(axis=0, ddof=1) / np.sqrt(n))


def subplots(columns: int = 1, rows: int = 1, size: tuple[float, float] | None = None) -> Any:
    """Return the axes of a new figure in the gallery's style."""
    plt.rcParams.update(STYLE)
    _, axes = plt.subplots(rows, columns, figsize=size or ((6.4, 4.0) if columns * rows == 1 else (8.0, 3.8)))
    return axes


def band(axes: Any, x: Any, runs: Any, label: str | None = None, **style: Any) -> None:
    """Draw the mean of the runs as a line, and its 95% interval as a band."""
    found = interval(runs)
    (line,) = axes.plot(x, found.mean, label=label, **style)
    axes.fill_between(x, found.low, found.high, color=line.get_color(), alpha=0.2, linewidth=0)


def bars(axes: Any, x: Any, runs: Any, label: str | None = None, **style: Any) -> None:
    """Draw the mean of the runs as points, and its 95% interval as error bars."""
    found = interval(runs)
    axes.errorbar(x, found.mean, found.half, label=label, **{"fmt": "o", "capsize": 3, "markersize": 4} | style)


def mosaic(images: Array, columns: int) -> Array:
    """Join n small images to one image, with white lines between them. `images` has the shape (n, height, width)."""
    n, height, width = images.shape
    framed = np.pad(images, ((0, 0), (0, 1), (0, 1)), constant_values=images.max())
    return (
        framed.reshape(n // columns, columns, height + 1, width + 1).swapaxes(1, 2).reshape(-1, columns * (width + 1))
    )


def show(axes: Any, image: Array, **labels: Any) -> None:
    """Draw a grey image without a grid and without a frame."""
    axes.imshow(image, cmap="gray")
    axes.set(**labels)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
