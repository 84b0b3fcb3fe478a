"""Early stopping, which keeps the best weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._base.checks import non_negative, observed, whole_number
from ._base.names import shown as _shown
from ._base.weights import Weights, copies, put_back

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """Keep the weights of the best validation metric, and tell the training loop when to stop.

    The training loop passes each metric to `observe`. If the metric is better than `best`, `best` becomes this metric,
    and the current weights are copied. If the metric is better than the previous `best` by more than `tol`, it is an
    improvement. After `patience` metrics in a row without improvement, `observe` returns True.

    Parameters
    ----------
    weights : model, {name: array} or list of arrays
        The weights to keep and to restore. A model is an object with the methods ``state_dict`` and
        ``load_state_dict``. Arrays must be writeable, and float32 or float64.
    patience : int or None
        The training should stop after this number of metrics in a row without improvement, >= 1. With None, the
        training is never stopped, but the best weights are still kept.
    mode : {"min", "max"}
        "min" if smaller metrics are better, "max" if larger metrics are better.
    tol : float
        A number >= 0. A metric is an improvement only if it is better than the previous `best` by more than `tol`.

    Attributes
    ----------
    best : float or None
        The best metric so far, or None before the first metric that is not nan.
    best_at : int
        1 if the first call of `observe` got the best metric, 2 if the second call got it, and so on. If `best` is None,
        `best_at` is 0.
    observations : int
        Number of all calls of `observe`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Sources: Prechelt (1998), "Early stopping - but when?"; Bengio (2012), section 3.1.2.

    `patience` and `tol` correspond to ``n_iter_no_change`` and ``tol`` of scikit-learn. With the same values,
    scikit-learn stops one epoch later.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.zeros(1)
    >>> stopping = EarlyStopping([w], patience=2)
    >>> for epoch, loss in enumerate([3.0, 2.0, 2.5, 2.25, 1.0], start=1):
    ...     w[:] = epoch
    ...     if stopping.observe(loss):
    ...         break
    >>> epoch, stopping.best, stopping.best_at
    (4, 2.0, 2)
    >>> stopping.restore()
    >>> w
    array([2.])
    """

    def __init__(self, weights: Weights, patience: int | None = 10, *, mode: str = "min", tol: float = 0.0) -> None:
        name = "EarlyStopping"
        if patience is not None and whole_number(f"{name}: patience", patience, 2**63) == 0:
            raise ValueError(f"{name}: patience must be at least 1, or None; got {patience!r}")
        if mode not in ("min", "max"):
            raise ValueError(f'{name}: mode must be "min" or "max"; got {mode!r}')
        self._weights, self.patience, self.mode = weights, patience, mode
        self.tol = non_negative(f"{name}: tol", tol)
        # the first copy is made here, so that unsuitable weights are refused before the training
        self._kept: Any = copies(name, weights)
        self.best: float | None = None
        self.best_at = self.observations = 0
        self._waited = 0

    def observe(self, metric: float) -> bool:
        """Record a metric, usually once per epoch. Return True if the training should stop.

        After the call, `is_best` is True if this metric is the best so far.
        """
        metric = observed("EarlyStopping.observe: metric", metric)
        self.observations += 1
        gain = self._gain(metric)
        self._waited = 0 if gain > self.tol else self._waited + 1
        if gain > 0:
            self.best, self.best_at = metric, self.observations
            self._kept = copies("EarlyStopping", self._weights)
        return self.stop

    def _gain(self, metric: float) -> float:
        if math.isnan(metric):
            return 0.0
        if self.best is None:
            return math.inf
        return self.best - metric if self.mode == "min" else metric - self.best

    @property
    def is_best(self) -> bool:
        """True if the last metric is the best so far."""
        return 0 < self.best_at == self.observations

    @property
    def stop(self) -> bool:
        """True if none of the last `patience` metrics was an improvement."""
        return self.patience is not None and self._waited >= self.patience

    def wait_anew(self) -> None:
        """Count the metrics without improvement from 0 again, for example after the learning rate was lowered.

        The best metric and its weights do not change.
        """
        self._waited = 0

    def restore(self) -> None:
        """Write the best weights back, in place.

        If `best` is None, they are the weights that were copied when this object was made.
        """
        put_back("EarlyStopping.restore", self._weights, self._kept)

    @property
    def best_weights(self) -> Any:
        """The weights that `restore` writes: the ``state_dict`` of a model, or a list with copies of the arrays."""
        return self._kept

    def state_dict(self) -> dict[str, Any]:
        """Return the best metric and the counters as a dict, without the weights."""
        return {
            "best": self.best,
            "best_at": self.best_at,
            "observations": self.observations,
            "waited": self._waited,
        }

    def load_state_dict(self, state: Mapping[str, Any], best_weights: Any) -> None:
        """Continue from a saved state.

        Parameters
        ----------
        state : mapping
            The result of `state_dict`.
        best_weights : object
            The saved value of the property `best_weights`. `restore` will write these weights.

        Raises
        ------
        TypeError, ValueError
            If a counter is missing or not an integer >= 0, or if the best metric is neither None nor a number.
        """
        name = "EarlyStopping.load_state_dict"
        counts = [
            whole_number(f"{name}: {key}", state.get(key), 2**63) for key in ("best_at", "observations", "waited")
        ]
        best = state.get("best")
        best = None if best is None else observed(f"{name}: best", best)
        self._kept = copy.deepcopy(best_weights)
        self.best, (self.best_at, self.observations, self._waited) = best, counts

    def __repr__(self) -> str:
        arguments = f"patience={self.patience!r}, mode={self.mode!r}, tol={self.tol!r}"
        return f"EarlyStopping({arguments}; best {self.best!r} at {self.best_at} of {self.observations})"


if not TYPE_CHECKING:
    _, __getattr__, __dir__ = _shown(globals(), __all__)
