"""A schedule that lowers the rate if a metric no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .._base.checks import observed
from ._check import integer, positive, real, step_number


class ReduceOnPlateau:
    """Schedule that lowers the rate after more than ``patience`` metrics in a row without improvement.

    This schedule has a state. The training loop passes the validation metric to `observe`, usually once per epoch. The
    optimizer calls the schedule in every step and gets the current rate.

    The attribute ``best`` is the metric of the last improvement. With mode "min", a metric is an improvement if it is
    below ``best - threshold * |best|``. With mode "max", it is an improvement if it is above
    ``best + threshold * |best|``. If no earlier metric was an improvement, a finite metric is always an improvement.
    nan is never an improvement.

    For positive metrics, the rates are the same as with torch's ``ReduceLROnPlateau(threshold_mode="rel")``. For
    negative metrics, such as a log-likelihood, the rates differ: torch's class also counts slightly worse metrics as
    improvements, so it does not always lower the rate on a plateau.

    Parameters
    ----------
    lr : float
        Rate at the start, >= 0.
    factor : float
        The rate is multiplied by this number, in (0, 1].
    patience : int
        An integer >= 0. The rate is lowered after ``patience + 1`` metrics in a row without improvement.
    mode : {"min", "max"}
        "min" if smaller metrics are better, "max" if larger metrics are better.
    threshold : float
        The relative change that an improvement must exceed, >= 0.
    cooldown : int
        After a change of the rate, the next ``cooldown`` metrics are not counted for ``patience``. At least 0.
    min_lr : float
        Lower limit of the rate, in [0, lr].

    Raises
    ------
    ValueError
        If an argument is outside its range.

    Examples
    --------
    >>> eta = ReduceOnPlateau(1.0, factor=0.5, patience=1)
    >>> [eta.observe(loss) for loss in (3.0, 2.0, 2.0, 2.0)]
    [1.0, 1.0, 1.0, 0.5]
    >>> eta(1000)
    0.5
    """

    def __init__(
        self,
        lr: float,
        *,
        factor: float = 0.1,
        patience: int = 10,
        mode: str = "min",
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        name = "ReduceOnPlateau"
        real(name, "lr", lr)
        positive(name, "factor", factor, high=1.0)
        integer(name, "patience", patience, least=0)
        if mode not in ("min", "max"):
            raise ValueError(f'{name}: mode must be "min" or "max"; got {mode!r}')
        real(name, "threshold", threshold)
        integer(name, "cooldown", cooldown, least=0)
        real(name, "min_lr", min_lr)
        if min_lr > lr:
            raise ValueError(f"{name}: min_lr must be at most lr ({lr!r}); got {min_lr!r}")
        self.lr = float(lr)
        self.factor, self.patience, self.mode = float(factor), int(patience), mode
        self.threshold, self.cooldown, self.min_lr = float(threshold), int(cooldown), float(min_lr)
        self.best = math.inf if mode == "min" else -math.inf
        self._bad = 0
        self._cooling = 0

    def __repr__(self) -> str:
        return (
            f"ReduceOnPlateau({self.lr!r}, factor={self.factor!r}, patience={self.patience!r}, "
            f"mode={self.mode!r}, threshold={self.threshold!r}, cooldown={self.cooldown!r}, "
            f"min_lr={self.min_lr!r})"
        )

    def __call__(self, t: int) -> float:
        """Return the current rate. It does not depend on the number t of the step."""
        step_number(t)
        return self.lr

    def observe(self, metric: float) -> float:
        """Record a metric, usually once per epoch. Return the new rate, which may be lower than before."""
        metric = observed("ReduceOnPlateau.observe: metric", metric)
        if self._improves(metric):
            self.best, self._bad = metric, 0
        else:
            self._bad += 1
        if self._cooling > 0:
            self._cooling, self._bad = self._cooling - 1, 0
        if self._bad > self.patience:
            self.lr = max(self.lr * self.factor, self.min_lr)
            self._bad, self._cooling = 0, self.cooldown
        return self.lr

    def _improves(self, metric: float) -> bool:
        margin = 0.0 if math.isinf(self.best) else self.threshold * abs(self.best)  # inf - inf would be nan
        return metric < self.best - margin if self.mode == "min" else metric > self.best + margin

    def state_dict(self) -> dict[str, float]:
        """Return the state for `load_state_dict`, a dict with four entries.

        "lr" is the rate, and "best" is the metric of the last improvement. "bad" is the number of metrics in a row
        without improvement, as counted for `patience`. "cooling" is the number of metrics until the cooldown ends.
        """
        return {"lr": self.lr, "best": self.best, "bad": self._bad, "cooling": self._cooling}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Load the result of `state_dict`. The options of this object, such as `factor`, do not change.

        Raises
        ------
        ValueError
            If an entry is missing, unknown or outside its range. Then the object does not change.
        """
        name = "ReduceOnPlateau.load_state_dict"
        if set(state) != {"lr", "best", "bad", "cooling"}:
            raise ValueError(f"{name}: state must have the keys lr, best, bad, cooling; got {sorted(state)}")
        lr, best, bad, cooling = state["lr"], state["best"], state["bad"], state["cooling"]
        real(name, 'state["lr"]', lr)
        integer(name, 'state["bad"]', bad, least=0)
        integer(name, 'state["cooling"]', cooling, least=0)
        if not isinstance(best, (int, float)) or math.isnan(best):
            raise ValueError(f'{name}: state["best"] must be a number; got {best!r}')
        self.lr, self.best, self._bad, self._cooling = float(lr), float(best), int(bad), int(cooling)
