"""Samplers without a state: they compute each trial from the earlier trials of the study.

A point is one value for each parameter. For each trial, a sampler repeats the search from its beginning with the
recorded results, up to the first point that has neither a result nor a running trial. So the samplers work with any
storage, with several workers and with a resumed study.
"""

from __future__ import annotations

import contextlib
import math
import threading
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

Point = tuple[Any, ...]
Results = Mapping[Point, float]

WORST = math.inf


class ReplaySampler(BaseSampler):
    """The base class of `CoordinateDescentSampler` and `MultiResolutionGridSampler`.

    A subclass computes the next point from the results so far and the points of the running trials.
    """

    attribute: ClassVar[str] = "fusedstep:point"  # name of the trial's attribute that stores the point

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._choosing = threading.Lock()  # one thread chooses at a time, and sees the points of the others

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_choosing"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _choosing=threading.Lock())

    @abstractmethod
    def next_point(self, results: Results, running: set[Point]) -> Point | None:
        """Return the next point to try, or None if no point is left."""

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose the trial's point, and write the point to the storage, where other workers read it."""
        if len(study.directions) > 1:
            raise ValueError(f"{type(self).__name__}: study must have one objective; got {len(study.directions)}")
        if self.attribute in trial.system_attrs or "fixed_params" in trial.system_attrs:
            return  # a retried trial has its point, and an enqueued trial has its own values
        with self._choosing:
            point = self._choose(study)
            study._storage.set_trial_system_attr(trial._trial_id, self.attribute, list(point))

    def _choose(self, study: Study) -> Point:
        results, running = self._collect(study)
        point = self.next_point(results, running)
        if point is not None:
            return point
        warnings.warn(f"{type(self).__name__}: every point has been tried; the best point is tried again", stacklevel=3)
        return min(results or running, key=lambda tried: results.get(tried, WORST))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return an empty dict, so that Optuna calls `sample_independent` for every parameter."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return an empty dict, because `sample_independent` returns every value."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the value that the parameter has at the trial's point."""
        call = type(self).__name__
        if param_name not in self._names:
            raise ValueError(f"{call}: a suggested parameter must be one of {self._names}; got {param_name!r}")
        if self.attribute not in trial.system_attrs:
            raise ValueError(f"{call}: an enqueued trial must have all parameters; {param_name!r} is missing")
        value = trial.system_attrs[self.attribute][self._names.index(param_name)]
        if not param_distribution._contains(param_distribution.to_internal_repr(value)):
            raise ValueError(
                f"{call}: the suggested distribution of {param_name!r} must contain the sampler's value {value!r}; "
                f"got {param_distribution}"
            )
        return value

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Stop the study if no point is left."""
        results, running = self._collect(study)
        point = self._point(trial)
        if point is not None:
            running.discard(point)
            results.setdefault(point, _result(study, state, values))
        if not running and self.next_point(results, running) is None:
            with contextlib.suppress(RuntimeError):  # raised for a trial of `ask` and `tell`, not of `optimize`
                study.stop()

    def _collect(self, study: Study) -> tuple[dict[Point, float], set[Point]]:
        """Return the best result of every point that was tried, and the points that are being tried."""
        results: dict[Point, float] = {}
        running: set[Point] = set()
        for trial in study.get_trials(deepcopy=False):
            point = self._point(trial)
            if point is None:
                continue
            if trial.state.is_finished():
                result = _result(study, trial.state, trial.values)
                results[point] = min(result, results.get(point, WORST))
            elif trial.state == TrialState.RUNNING:
                running.add(point)
        return results, running - results.keys()

    def _point(self, trial: FrozenTrial) -> Point | None:
        """Return a trial's point, even if another sampler or the user chose it, or None if a parameter is missing."""
        if self.attribute in trial.system_attrs:
            values = tuple(trial.system_attrs[self.attribute])
            return values if len(values) == len(self._names) else None
        if all(name in trial.params for name in self._names):
            return tuple(trial.params[name] for name in self._names)
        return None


def _result(study: Study, state: TrialState, values: Sequence[float] | None) -> float:
    """Return a trial's value, negated if the study maximizes: smaller is better. Failed and pruned trials get inf."""
    if state != TrialState.COMPLETE or not values or math.isnan(values[0]):
        return WORST
    return -values[0] if study.directions[0] == StudyDirection.MAXIMIZE else values[0]


def plain(call: str, name: str, value: Any) -> Any:
    """Return a value as a plain Python object, which every storage can save."""
    value = value.item() if hasattr(value, "item") else value
    if value is not None and not isinstance(value, (bool, int, float, str)):
        need = "a number, a string, a bool or None"
        raise TypeError(f"{call}: each value of {name!r} must be {need}; got the value {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{call}: values of {name!r} must be finite; got {value!r}")
    return value
