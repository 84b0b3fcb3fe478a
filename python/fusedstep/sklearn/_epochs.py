"""The epochs of a fit: steps, the curves, and when to stop."""

from __future__ import annotations

import contextlib
import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import nn, schedules
from ._augment import around, augmented
from ._data import Data
from ._progress import Progress
from ._solver import decay_term, present_rate

if TYPE_CHECKING:
    from ._base import BaseMLP

SMALLEST_RATE = 1e-6  # "adaptive" stops here, as in scikit-learn


class Epoch(NamedTuple):
    """What a callback is told.

    Attributes
    ----------
    number : int
        Of the epoch, from 1.
    loss : float
        Mean over the epoch's batches, penalties included.
    score : float or None
        On the validation set, if there is one.
    learning_rate : float
        Of the last step.
    """

    number: int
    loss: float
    score: float | None
    learning_rate: float


class Epochs:
    """Trains an estimator's network on some rows; writes the estimator's curves."""

    def __init__(self, estimator: BaseMLP, data: Data, validation: Data | None) -> None:
        self._estimator, self._validation = estimator, validation
        self._model, self._optimizer = estimator._model, estimator._optimizer
        self._count = len(data)
        self._batches = data.batches(estimator._batch_size(len(data)), merge_single=estimator.batch_norm)
        self._trainer = nn.Trainer(
            self._model,
            estimator._loss,
            self._optimizer,
            clip_norm=estimator.clip_norm,
            decay_by_rows=estimator._optimizer_class is not None and estimator.weight_decay is None,
            penalty=decay_term(estimator, self._optimizer),
            around=around(estimator, self._model, estimator._philox),
        )
        self._order = np.arange(self._count)

    def run(self, epochs: int) -> None:
        """Train for so many epochs, or until stopping is due.

        Raises
        ------
        ValueError
            If the loss is not finite.
        """
        estimator = self._estimator
        with Progress(estimator, epochs) as progress, np.errstate(over="ignore", invalid="ignore"):
            try:
                for _ in range(epochs):
                    epoch = self._epoch()
                    progress.show(epoch)
                    if self._is_over(epoch, progress):
                        break
                else:
                    self._warn_unless_planned(epochs)
            except KeyboardInterrupt:
                warnings.warn("Training interrupted by user.", stacklevel=5)

    def _epoch(self) -> Epoch:
        estimator = self._estimator
        if estimator.shuffle:
            # sklearn.utils.shuffle's order, without its checks
            self._order = self._order[estimator._random_state.permutation(self._count)]
        batches = self._batches.epoch(self._order if estimator.shuffle else None)
        batches = augmented(batches, estimator, estimator._philox)
        loss = self._trainer.epoch(batches, *([self._take_snapshot] if estimator.snapshots else []))
        if not math.isfinite(loss) and not estimator.early_stopping:
            raise ValueError(self._divergence(loss))
        estimator.n_iter_ += 1
        estimator.t_ += self._count
        estimator.loss_ = loss
        estimator.loss_curve_.append(loss)
        rate = present_rate(self._optimizer)
        return Epoch(len(estimator.loss_curve_), loss, self._observe(loss), rate)

    def _divergence(self, loss: float) -> str:
        return (
            f"Training diverged: the loss of step {self._trainer.steps + 1} is not finite ({loss}). Solver produced "
            "non-finite parameter weights. The input data may contain large values and need to be preprocessed. "
            "Smaller learning_rate_init, clip_norm=1.0 or standardised inputs may help."
        )

    def _take_snapshot(self, loss: float) -> None:
        estimator, step = self._estimator, self._optimizer.steps - self._estimator.warmup
        if estimator._snapshots is not None and step > 0:
            estimator._snapshots.observe(step)

    def _observe(self, loss: float) -> float | None:
        """Tell the curves and the early stopping; return the score."""
        estimator = self._estimator
        score = None
        with self._averaged():
            if self._validation is not None:
                score = self._score(self._validation, diverged=not math.isfinite(loss))
            if estimator.early_stopping:
                assert score is not None
                estimator._stopping.observe(score)
            else:
                estimator._stopping.observe(loss)
        if not estimator.early_stopping:
            estimator.best_loss_ = min(estimator.best_loss_, loss)
        self._adjust_rate(loss if score is None else -score)
        return score

    def _score(self, validation: Data, diverged: bool) -> float:
        estimator = self._estimator
        score = math.nan if diverged else estimator._validation_score(validation)
        if estimator.validation_scores_ is None:
            estimator.validation_scores_, estimator.best_validation_score_ = [], -math.inf
        estimator.validation_scores_.append(score)
        if score > estimator.best_validation_score_:  # never nan
            estimator.best_validation_score_ = score
        return score

    def _averaged(self) -> contextlib.AbstractContextManager[Any]:
        return self._optimizer.averaged() if self._optimizer.ema is not None else contextlib.nullcontext()

    def _adjust_rate(self, metric: float) -> None:
        estimator = self._estimator
        if estimator.learning_rate == "invscaling" and estimator._is_sgd:
            self._set_rate(estimator._first_rate / (estimator.t_ + 1) ** estimator.power_t)
        rate = self._optimizer.groups[0]["lr"]
        plateau = getattr(rate, "schedule", rate)
        if isinstance(plateau, schedules.ReduceOnPlateau):
            plateau.observe(metric)

    def _set_rate(self, rate: float) -> None:
        """Change the rate; what the momentum does next stays the same, as in scikit-learn, where it holds the rate."""
        before = present_rate(self._optimizer)
        for arrays in self._optimizer.state.values():
            for momentum in arrays.values():
                momentum *= momentum.dtype.type(before / rate)
        for group in self._optimizer.groups:
            group["lr"] = rate

    def _is_over(self, epoch: Epoch, progress: Progress) -> bool:
        estimator = self._estimator
        asked = [callback(estimator, epoch) for callback in estimator.callbacks or ()]
        if any(isinstance(answer, bool | np.bool_) and answer for answer in asked):
            progress.say("A callback ended the training.")
            return True
        if not math.isfinite(epoch.loss):
            warnings.warn(
                f"{self._divergence(epoch.loss)} The weights of the best validation score are kept.",
                ConvergenceWarning,
                stacklevel=7,
            )
            return True
        if not estimator._stopping.stop or (estimator._runs_to_the_end and not estimator.early_stopping):
            return False
        what = "Validation score" if estimator.early_stopping else "Training loss"
        found = f"{what} did not improve more than tol={estimator.tol:f} in {estimator.n_iter_no_change} epochs."
        if estimator.learning_rate == "adaptive" and estimator._is_sgd and epoch.learning_rate > SMALLEST_RATE:
            self._set_rate(epoch.learning_rate / 5)
            estimator._stopping.wait_anew()
            progress.say(f"{found} Setting learning rate to {epoch.learning_rate / 5:f}")
            return False
        progress.say(f"{found} Stopping.")
        return True

    def _warn_unless_planned(self, epochs: int) -> None:
        estimator = self._estimator
        if epochs == estimator.max_iter and not estimator._runs_to_the_end:
            warnings.warn(
                f"Maximum iterations ({epochs}) reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=6,
            )
