"""Check whether the best values lie on the border of the searched range."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Sequence
from typing import NamedTuple

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from .._base.checks import fraction


class BorderWarning(UserWarning):
    """The best value of a parameter lies on the border of its range."""


class Border(NamedTuple):
    """A parameter whose best value lies on the border of the searched range.

    Attributes
    ----------
    name : str
        The name of the parameter.
    best : float
        The value of the parameter in the best trial.
    side : {"low", "high"}
        The border on which the value lies.
    low, high : float
        The ends of the range. If the tried values form a grid, and ``best`` lies on the border of this grid but
        not on the border of the range, then ``low`` and ``high`` are the smallest and the largest tried value.
    """

    name: str
    best: float
    side: str
    low: float
    high: float

    def __str__(self) -> str:
        beyond = f"below {self.low:g}" if self.side == "low" else f"above {self.high:g}"
        edge = "lower" if self.side == "low" else "upper"
        return (
            f"the best {self.name}, {self.best:g}, lies on the {edge} border of [{self.low:g}, {self.high:g}]: "
            f"search {beyond} too"
        )


def border_report(study: Study, *, tolerance: float = 0.02, ignore: Collection[str] = ()) -> list[Border]:
    """Warn about every parameter whose best value lies on the border of its range. The optimum may be outside.

    Parameters
    ----------
    study : optuna.Study
        A study with one objective and at least one completed trial.
    tolerance : float
        Width of the border at each end, divided by the width of the range: at least 0 and below 0.5. For a parameter
        with ``log=True``, the two widths are measured on the logarithmic scale.
    ignore : collection of str
        Names of parameters that are not checked, for example because their range has a natural end, such as 0.

    Returns
    -------
    list of Border
        One `Border` for each parameter whose best value lies on the border. For each of them, there is also a
        `BorderWarning`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Source: Bengio (2012), section 3.3.1. The tried values of a parameter are treated as a grid if at least three
    different values were tried, with an average of two or more trials per value. A grid may be narrower than the range.
    So the smallest and the largest value of the grid are borders in addition to the ends of the range. A categorical
    parameter has borders if it has at least three choices and all choices are numbers.

    Examples
    --------
    >>> import optuna, warnings
    >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
    >>> study = optuna.create_study(sampler=optuna.samplers.GridSampler({"lr": [0.001, 0.01, 0.1]}))
    >>> study.optimize(lambda trial: 1 - trial.suggest_float("lr", 0.001, 0.1, log=True))
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     (border,) = border_report(study)
    >>> print(caught[0].message)
    the best lr, 0.1, lies on the upper border of [0.001, 0.1]: search above 0.1 too
    """
    call = "border_report"
    if not isinstance(study, Study):
        raise TypeError(f"{call}: study must be an optuna.Study; got {type(study).__name__}")
    if len(study.directions) > 1:
        raise ValueError(f"{call}: study must have one objective; got {len(study.directions)}")
    edge = fraction(f"{call}: tolerance", tolerance)
    if edge >= 0.5:
        raise ValueError(f"{call}: tolerance must be below 0.5; got {tolerance!r}")
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    if not any(trial.state.name == "COMPLETE" for trial in finished):
        got = f"none ({len(finished)} failed or pruned)"
        raise ValueError(f"{call}: study must have at least one completed trial; got {got}")
    best, found = study.best_trial, []
    for name in best.params:
        border = None if name in ignore else _border(name, best, finished, edge)
        if border is not None:
            warnings.warn(str(border), BorderWarning, stacklevel=2)
            found.append(border)
    return found


def _border(name: str, best: FrozenTrial, finished: Sequence[FrozenTrial], edge: float) -> Border | None:
    value, distribution = best.params[name], best.distributions[name]
    ranges = [_range(distribution), _tried(name, finished)]
    log = getattr(distribution, "log", False)
    for low, high in (found for found in ranges if found is not None and _is_number(value)):
        at = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
        if at <= edge or at >= 1 - edge:
            return Border(name, float(value), "low" if at <= edge else "high", low, high)
    return None


def _range(distribution: BaseDistribution) -> tuple[float, float] | None:
    """Return the ends of a parameter's range.

    Return None if the range has a single value. For a categorical parameter, return None if it has fewer than three
    different choices, or if a choice is not a number.
    """
    if isinstance(distribution, CategoricalDistribution):
        choices = [choice for choice in distribution.choices if isinstance(choice, (int, float)) and _is_number(choice)]
        return _ends(choices) if len(choices) == len(distribution.choices) else None
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    return (distribution.low, distribution.high) if distribution.low < distribution.high else None


def _tried(name: str, finished: Sequence[FrozenTrial]) -> tuple[float, float] | None:
    """Return the smallest and the largest tried value of a parameter. Return None if the tried values form no grid.

    The values form a grid if there are at least three different ones, and on average each was tried at least twice.
    """
    values = [trial.params[name] for trial in finished if name in trial.params]
    repeated = 2 * len(set(values)) <= len(values)
    return _ends(values) if repeated and all(map(_is_number, values)) else None


def _ends(values: Sequence[float]) -> tuple[float, float] | None:
    return (float(min(values)), float(max(values))) if len(set(values)) >= 3 else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
