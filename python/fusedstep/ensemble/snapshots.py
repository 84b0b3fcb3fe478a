"""An ensemble from one training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

from .._base.checks import whole_number
from .members import Ensemble, predictor


class Cyclic(Protocol):
    """A schedule with cycles, such as `fusedstep.schedules.cosine_restarts`."""

    def ends_cycle(self, t: int) -> bool:
        """Return True if step t is the last of its cycle."""


class Snapshots(Ensemble):
    """An ensemble from one training: a copy of the model from the end of each cycle of the learning rate.

    Parameters
    ----------
    model : object
        The model that is trained. Call ``observe(t)`` after every step t. At the end of each cycle,
        this call makes a deep copy of the model.
    schedule : object with ``ends_cycle(t)``
        For example `fusedstep.schedules.cosine_restarts`.
    last : int, optional
        Only the latest `last` copies are kept. By default all copies are kept.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Source: Huang et al. (2017), "Snapshot ensembles: train 1, get M for free". A `Snapshots` is an `Ensemble` of
    the copies made so far. `predict` works only after the first copy.

    Examples
    --------
    >>> import numpy as np
    >>> from fusedstep import nn, schedules
    >>> model = nn.Sequential(nn.Linear(2, 1), rng=0)
    >>> eta = schedules.cosine_restarts(0.1, cycle_steps=10)
    >>> snapshots = Snapshots(model, eta)
    >>> taken = [t for t in range(1, 31) if snapshots.observe(t)]
    >>> taken, len(snapshots), snapshots.predict(np.ones((4, 2))).shape
    ([10, 20, 30], 3, (4, 1))
    """

    def __init__(self, model: Any, schedule: Cyclic, last: int | None = None) -> None:
        name = "Snapshots"
        predictor(f"{name}: model", model)
        if not callable(getattr(schedule, "ends_cycle", None)):
            raise TypeError(f"{name}: schedule must have ends_cycle(t), as cosine_restarts has; got {schedule!r}")
        if last is not None and whole_number(f"{name}: last", last, 2**63) == 0:
            raise ValueError(f"{name}: last must be at least 1, or None; got {last!r}")
        self._model, self._schedule, self._last = model, schedule, last
        self._members = []

    def put(self, models: Sequence[Any]) -> None:
        """Replace the copies by `models`, for example by those of a checkpoint. `models` are not copied."""
        self._members[:] = models

    def observe(self, t: int) -> bool:
        """Call this method after every step t. If step t is the last of its cycle, copy the model and return True."""
        ends = bool(self._schedule.ends_cycle(t))
        if ends:
            self._members.append(copy.deepcopy(self._model))
            del self._members[: -(self._last or len(self._members))]
        return ends
