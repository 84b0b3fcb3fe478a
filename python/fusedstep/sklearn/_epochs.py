"""The epochs of a fit: they train the network, record loss and score, and decide when the training ends."""

from __future__ import annotations

import math
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import nn
from .._base.arrays import Array
from ._augment import around, augmented
from ._data import Data
from ._fitted import Fitted
from ._progress import Epoch, Progress
from ._solver import decay_term, present_rate

SMALLEST_RATE = 1e-6  # learning_rate="adaptive" only lowers rates above this number, as in scikit-learn


class Epochs:
    """Trains an estimator's network on some rows, and adds each epoch's loss and score to the estimator's lists."""

    def __init__(self, estimator: Fitted, data: Data, validation: Data | None) -> None:
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
        """Train for `epochs` epochs. The training ends earlier if `_is_over` returns True.

        Raises
        ------
        ValueError
            If the loss is not finite and `early_stopping` is False.
        """
        estimator = self._estimator
        losses = self._trainer.fit(
            self._batches,
            epochs,
            order=self._next_order,
            change=lambda batches: augmented(batches, estimator, estimator._philox),
            stop=self._take_snapshot,
            validate=self._validate,
        )
        with Progress(estimator, epochs) as progress:
            try:
                for loss in losses:
                    if not math.isfinite(loss):
                        if not estimator.early_stopping:
                            raise ValueError(self._divergence(loss))
                        self._validate(loss)
                    if estimator.learning_rate == "invscaling" and estimator._is_sgd:
                        self._set_rate(estimator._first_rate / (estimator.t_ + 1) ** estimator.power_t)
                    progress.show(self._last)
                    if self._is_over(self._last, progress):
                        break
                else:
                    self._warn_unless_planned(epochs)
            except KeyboardInterrupt:
                warnings.warn("Training interrupted by user.", stacklevel=5)

    def _next_order(self) -> Array | None:
        estimator = self._estimator
        if not estimator.shuffle:
            return None
        # sklearn.utils.shuffle would give the same order, but would also check its arguments in every epoch
        self._order = self._order[estimator._random_state.permutation(self._count)]
        return self._order

    def _divergence(self, loss: float) -> str:
        return (
            f"Training diverged: the loss of step {self._trainer.steps + 1} is not finite ({loss}). Solver produced "
            "non-finite parameter weights. The input data may contain large values and need to be preprocessed. "
            "A smaller learning_rate_init, clip_norm=1.0 or standardised inputs may help."
        )

    def _take_snapshot(self, loss: float) -> None:
        estimator, step = self._estimator, self._optimizer.steps - self._estimator.warmup
        if estimator._snapshots is not None and step > 0:
            estimator._snapshots.observe(step)

    def _validate(self, loss: float) -> float:
        """Record an epoch. Return a number for which smaller is better.

        The estimator's `EarlyStopping` observes the score if `early_stopping` is True, else the loss.
        """
        estimator, rate = self._estimator, present_rate(self._optimizer)
        estimator.n_iter_ += 1
        estimator.t_ += self._count
        estimator.loss_ = loss
        estimator.loss_curve_.append(loss)
        score = None
        if self._validation is not None:
            score = self._score(self._validation, diverged=not math.isfinite(loss))
        if estimator.early_stopping:
            assert score is not None
            estimator._stopping.observe(score)
        else:
            estimator._stopping.observe(loss)
            estimator.best_loss_ = min(estimator.best_loss_, loss)
        self._last = Epoch(len(estimator.loss_curve_), loss, score, rate)
        return loss if score is None else -score

    def _score(self, validation: Data, diverged: bool) -> float:
        estimator = self._estimator
        score = math.nan if diverged else estimator._validation_score(validation)
        if estimator.validation_scores_ is None:
            estimator.validation_scores_, estimator.best_validation_score_ = [], -math.inf
        estimator.validation_scores_.append(score)
        if score > estimator.best_validation_score_:  # False if the score is nan
            estimator.best_validation_score_ = score
        return score

    def _set_rate(self, rate: float) -> None:
        """Change the learning rate of SGD, and rescale the momentum buffers so that buffer * rate stays the same.

        In scikit-learn, SGD stores this product instead of the buffer, and a new rate does not change the product.
        """
        before = present_rate(self._optimizer)
        for arrays in self._optimizer.state.values():
            for momentum in arrays.values():
                momentum *= momentum.dtype.type(before / rate)
        for group in self._optimizer.groups:
            group["lr"] = rate

    def _is_over(self, epoch: Epoch, progress: Progress) -> bool:
        """Return True if a callback, a loss that is not finite, or a lack of improvement ends the training.

        With SGD and learning_rate="adaptive", a lack of improvement lowers the learning rate. It ends the training only
        if the rate is already SMALLEST_RATE or lower.
        """
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
