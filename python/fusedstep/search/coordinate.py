"""Coordinate descent over a grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._base.random import key_of
from ..ops.draws import uniform
from ..ops.philox import Key
from ._replay import WORST, Point, ReplaySampler, Results, plain

RESTARTS = 1000  # number of random starts; after them, the rest of the grid is tried in order


class CoordinateDescentSampler(ReplaySampler):
    """Change one hyperparameter at a time, and keep every change that gives a better result.

    All values of the first parameter are tried while the other parameters are fixed, and the best value is kept. The
    same is done with the second parameter and with all further parameters. This is one round. Rounds are repeated until
    no parameter changes any more. Then the search starts again at a random point of the grid. The search stops when the
    whole grid has been tried.

    Parameters
    ----------
    grid : {name: values}
        The values of every parameter: numbers, strings, bools or None. They are tried in the given order.
    start : {name: value}, optional
        The first point of the search. By default the middle value of each parameter.
    key : Key, optional
        Draws the points at which the search starts again.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described. ``trial.suggest_...`` raises ValueError if the parameter is not in the grid,
        or if the suggested range does not contain the value that the sampler has chosen.

    Notes
    -----
    Source: Bengio (2012), section 3.3.2. A failed or pruned trial is treated as worse than all completed trials. The
    study holds the whole state of the search. So a search can be stored, resumed and shared by several processes.

    Examples
    --------
    >>> import optuna
    >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
    >>> grid = {"x": [-2, -1, 0, 1, 2], "y": [0, 1, 2, 3]}
    >>> study = optuna.create_study(sampler=CoordinateDescentSampler(grid, start={"x": -2, "y": 0}))
    >>> study.optimize(lambda t: (t.suggest_int("x", -2, 2) - 1) ** 2 + (t.suggest_int("y", 0, 3) - 2) ** 2, n_trials=8)
    >>> study.best_params
    {'x': 1, 'y': 2}
    """

    def __init__(
        self, grid: Mapping[str, Sequence[Any]], start: Mapping[str, Any] | None = None, key: Key | None = None
    ) -> None:
        call = type(self).__name__
        if not isinstance(grid, Mapping) or not grid:
            raise TypeError(f"{call}: grid must be a dict {{name: values}} that is not empty; got {grid!r}")
        super().__init__(list(grid))
        self._axes = [_axis(call, name, values) for name, values in grid.items()]
        self._size = math.prod(len(axis) for axis in self._axes)
        self._start = self._first(call, start)
        self._key = Key(0) if key is None else key_of(call, key)

    def _first(self, call: str, start: Mapping[str, Any] | None) -> Point:
        if start is None:
            return tuple(axis[(len(axis) - 1) // 2] for axis in self._axes)
        if set(start) != set(self._names):
            raise ValueError(f"{call}: start must have the parameters {self._names}; got {list(start)}")
        for name, axis in zip(self._names, self._axes, strict=True):
            if start[name] not in axis:
                raise ValueError(f"{call}: start[{name!r}] must be one of {axis}; got {start[name]!r}")
        return tuple(plain(call, name, start[name]) for name in self._names)

    def next_point(self, results: Results, running: set[Point]) -> Point | None:
        """Return the first point of the search that has not been tried, or None if the whole grid has been tried."""
        tried = sum(self._on_grid(point) for point in {*results, *running})
        if tried >= self._size:
            return None
        for start in self._starts():
            point = self._descend(start, results, running)
            if point is not None:
                return point
        return next(p for p in itertools.product(*self._axes) if p not in results and p not in running)

    def _on_grid(self, point: Point) -> bool:
        return all(value in axis for value, axis in zip(point, self._axes, strict=True))

    def _starts(self) -> Iterator[Point]:
        yield self._start
        for r in range(RESTARTS):
            u = uniform(len(self._axes), self._key.fold(r))
            yield tuple(axis[int(v * len(axis))] for v, axis in zip(u.tolist(), self._axes, strict=True))

    def _descend(self, here: Point, results: Results, running: set[Point]) -> Point | None:
        """Replay the coordinate descent from the point `here` with the recorded results.

        Return the first point of the descent that has neither a result nor a running trial. Return None if there is no
        such point.
        """
        unmoved = 0
        for d in itertools.cycle(range(len(self._axes))):
            candidates = [(*here[:d], value, *here[d + 1 :]) for value in self._axes[d]]
            for point in (here, *candidates):
                if point not in results and point not in running:
                    return point
            best = min(candidates, key=lambda point: results.get(point, WORST))
            moves = results.get(best, WORST) < results.get(here, WORST)
            here, unmoved = (best, 0) if moves else (here, unmoved + 1)
            if unmoved == len(self._axes):
                break
        return None


def _axis(call: str, name: str, values: Sequence[Any]) -> list[Any]:
    if isinstance(values, str) or not hasattr(values, "__len__") or not len(values):
        raise TypeError(f"{call}: grid[{name!r}] must be a list of at least one value; got {values!r}")
    axis = [plain(call, name, value) for value in values]
    if len(set(axis)) != len(axis):
        raise ValueError(f"{call}: grid[{name!r}] must not have a value twice; got {axis}")
    return axis
