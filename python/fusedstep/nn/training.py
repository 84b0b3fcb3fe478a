"""The inner loop of a training: batches of rows, and one optimizer step per batch."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .._base.arrays import Array
from .._base.checks import check_width
from .._base.memory import Buffers
from ..optim import Optimizer
from ..schedules import ReduceOnPlateau
from ._stack import every
from .losses import Loss
from .penalties import ActivityPenalty
from .sequential import Sequential


class Batch(NamedTuple):
    """Some rows of the data. The arrays are valid until the next batch is made.

    Attributes
    ----------
    x : ndarray, shape (n, width)
        Inputs.
    targets : ndarray, shape (n, ...)
        Targets, in the form that the loss accepts.
    weights : ndarray, shape (n,), or None
        Weights of the rows in the loss. None: all rows have the same weight.
    """

    x: Array
    targets: Array
    weights: Array | None = None

    @property
    def size(self) -> float:
        """Sum of the weights of the rows, or the number of rows if there are no weights."""
        return len(self.x) if self.weights is None else float(np.add.reduce(self.weights))


class Batches:
    """Arrays that are divided into batches of rows.

    Parameters
    ----------
    x : ndarray, shape (n, width)
        Inputs. They are never written to.
    targets : ndarray, shape (n, ...)
        Targets, in the form that the loss accepts.
    weights : ndarray, shape (n,), optional
        Weights of the rows in the loss. By default all rows have the same weight.
    size : int
        Number of rows per batch. The last batch of an epoch may have fewer.
    merge_single : bool
        If True and the last batch has only one row, this row is moved into the previous batch. Set this for a model
        with a `BatchNorm`, which cannot train on a single row.

    Raises
    ------
    ValueError
        If the size is not an integer >= 1, or the arrays have different numbers of rows.

    Examples
    --------
    >>> import numpy as np
    >>> batches = Batches(np.arange(5.0)[:, None], np.arange(5), size=2)
    >>> [batch.targets.tolist() for batch in batches.epoch(np.array([4, 3, 2, 1, 0]))]
    [[4, 3], [2, 1], [0]]
    """

    def __init__(
        self, x: Array, targets: Array, weights: Array | None = None, *, size: int, merge_single: bool = False
    ) -> None:
        size = check_width("Batches", "size", size)
        for name, array in (("targets", targets), ("weights", weights)):
            if array is not None and len(array) != len(x):
                raise ValueError(f"Batches: {name} must have {len(x)} rows; got {len(array)}")
        self._x, self._targets, self._weights = x, targets, weights
        starts = list(range(0, len(x), size))
        if merge_single and len(starts) > 1 and len(x) % size == 1:
            starts.pop()
        self._slices = [slice(*ends) for ends in itertools.pairwise([*starts, len(x)])]
        self._memory = Buffers(x.dtype)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._slices)

    def epoch(self, order: Array | None = None) -> Iterator[Batch]:
        """Yield all batches.

        `order` is an array with the indices of the rows, in the order in which the batches take them. If it is None,
        the rows keep their order, and the batches are views of the arrays given to `Batches`. Otherwise the batches
        are copies, and each is valid until the next one is made.
        """
        x, targets, weights = self._x, self._targets, self._weights
        for part in self._slices:
            if order is None:
                yield Batch(x[part], targets[part], None if weights is None else weights[part])
                continue
            rows = order[part]
            # with mode="raise", NumPy would first copy into a temporary array
            gathered = x.take(rows, axis=0, out=self._memory[(len(rows), *x.shape[1:])], mode="clip")
            yield Batch(gathered, targets.take(rows, axis=0), None if weights is None else weights.take(rows))


class Trainer:
    """Train a model: for each batch, compute the gradients and take one optimizer step.

    Parameters
    ----------
    model : Sequential
    loss : Loss
    optimizer : Optimizer
        An optimizer of ``model.params``. If it has a method ``lookahead``, as `NAG` has, gradients are computed inside
        ``with optimizer.lookahead():``.
    clip_norm : float, optional
        The argument `clip_norm` of every call of `Optimizer.step`.
    decay_by_rows : bool
        If True, each step uses the optimizer's `weight_decay` and `l1`, both divided by `Batch.size`. Use this if the
        two values were chosen for a loss that is the sum over the rows, not the mean.
    penalty : function, optional
        A function without arguments that returns the penalty of weight decay and L1. The losses that `step` and `epoch`
        return include this penalty, divided by `Batch.size` if `decay_by_rows` is True. The gradients do not include
        it, because the optimizer applies weight decay and L1.
    around : function, optional
        A function without arguments that returns a context manager. Every forward and backward pass runs inside its
        ``with`` block. The context manager can, for example, add noise to the weights.

    Attributes
    ----------
    steps : int
        Number of steps so far.

    Raises
    ------
    TypeError, ValueError
        If `loss` is not a `Loss`, or if the optimizer's parameters do not have the names of ``model.params``.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> from fusedstep import nn
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)[:, None]
    >>> model = nn.Sequential(nn.Linear(1, 1), rng=0)
    >>> trainer = nn.Trainer(model, nn.MeanSquaredError(), fs.SGD(model.params, lr=0.3))
    >>> for _ in range(20):
    ...     loss = trainer.epoch(nn.Batches(x, 3 * x, size=16).epoch())
    >>> loss < 1e-3, trainer.steps
    (True, 80)
    """

    def __init__(
        self,
        model: Sequential,
        loss: Loss,
        optimizer: Optimizer,
        *,
        clip_norm: float | None = None,
        decay_by_rows: bool = False,
        penalty: Callable[[], float] | None = None,
        around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        if not isinstance(loss, Loss):
            raise TypeError(f"Trainer: loss must be a Loss, such as nn.SoftmaxNLL(); got {loss!r}")
        names = optimizer.params
        if not isinstance(names, Mapping) or names.keys() != model.params.keys():
            raise ValueError(f"Trainer: optimizer must be made from the dict model.params; got {optimizer}")
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self._grads = [model.grads[name] for name in names]
        self._clip_norm, self._decay_by_rows, self._penalty = clip_norm, decay_by_rows, penalty
        self._lookahead = getattr(optimizer, "lookahead", contextlib.nullcontext)
        self._around = around
        self._has_activity_penalty = any(isinstance(layer, ActivityPenalty) for layer in every(model.layers))
        self.steps = 0

    def step(self, batch: Batch) -> float:
        """Take one step, and return the loss with the weights before it. If this loss is not finite, take no step."""
        model = self.model
        with self._lookahead(), self._around():
            outputs = model.forward(batch.x, training=True)
            value, dy = self.loss.value_and_gradient(outputs, batch.targets, batch.weights)
            model.backward(dy)
        scale = 1.0 / batch.size if self._decay_by_rows else 1.0
        if self._has_activity_penalty:
            value += model.penalty
        if self._penalty is not None:
            value += scale * self._penalty()
        if math.isfinite(value):
            self.optimizer.step(self._grads, clip_norm=self._clip_norm, decay_scale=scale)
            self.steps += 1
        return value

    def epoch(self, batches: Iterable[Batch], stop: Callable[[float], object] = lambda value: False) -> float:
        """Take one step for each batch.

        Parameters
        ----------
        batches : iterable of Batch
        stop : function of the loss
            Called after every step. If it returns True, the epoch ends.

        Returns
        -------
        float
            The mean loss of the rows. If a loss is not finite, the epoch ends and this loss is returned.
        """
        total, rows = 0.0, 0
        for batch in batches:
            value = self.step(batch)
            if not math.isfinite(value):
                return value
            total += value * len(batch.x)
            rows += len(batch.x)
            if stop(value):
                break
        return total / rows if rows else math.nan

    def fit(
        self,
        batches: Batches,
        epochs: int,
        *,
        order: Callable[[], Array | None] = lambda: None,
        change: Callable[[Iterator[Batch]], Iterable[Batch]] = iter,
        stop: Callable[[float], object] = lambda value: False,
        validate: Callable[[float], float] = lambda loss: loss,
    ) -> Iterator[float]:
        """Yield the loss of each epoch. Each ``next()`` on the returned iterator trains for one epoch.

        Parameters
        ----------
        batches : Batches
        epochs : int
            Largest number of epochs. The training ends earlier if a loss is not finite or `stop` returns True.
        order : function, optional
            Called before every epoch. The result of this function is passed to `Batches.epoch` as the argument `order`.
        change : function of the batches, optional
            Called in every epoch with an iterator over the batches. Returns the batches to train on, for example
            batches with noise.
        stop : function of the loss, optional
            Called after every step; see `epoch`.
        validate : function of the mean loss, optional
            Called after every epoch, unless `stop` or a loss that is not finite has ended the training. Returns a
            number for which smaller is better. If the learning rate is a `ReduceOnPlateau` schedule, the schedule
            observes this number. If the optimizer keeps averages of the parameters, the parameters have the
            values of these averages while `validate` runs.

        Yields
        ------
        float
            The mean loss of each epoch, or the first loss that is not finite. If `stop` ends the training, the last
            epoch may be incomplete.
        """
        ended: object = False

        def after_step(value: float) -> object:
            nonlocal ended
            ended = stop(value)
            return ended

        averaged = self.optimizer.averaged if self.optimizer.has_averages else contextlib.nullcontext
        rate = self.optimizer.groups[0]["lr"]
        plateau = getattr(rate, "schedule", rate)
        for _ in range(epochs):
            with np.errstate(over="ignore", invalid="ignore"):
                loss = self.epoch(change(batches.epoch(order())), after_step)
                if math.isfinite(loss) and not ended:
                    with averaged():
                        metric = validate(loss)
                    if isinstance(plateau, ReduceOnPlateau):
                        plateau.observe(metric)
            yield loss
            if ended or not math.isfinite(loss):
                return
