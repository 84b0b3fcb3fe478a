"""Grids that become finer around the best point."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from .._base.checks import whole_number
from .._base.random import key_of
from ..ops.draws import permutation
from ..ops.philox import Key
from ._replay import Point, ReplaySampler, Results

FINEST = 50  # largest number of levels. Each level halves the spacing, and floats have 53 bits
LARGEST = 10**6  # largest number of points of the coarse grid

# A position on an axis: a fraction of the range, or the index of a choice. Fractions are exact, so that a point
# that two grids have in common is equal in both.
Place = Fraction | int


class MultiResolutionGridSampler(ReplaySampler):
    """Try a coarse grid over the whole range, then finer grids around the best point so far.

    The search goes from level to level. Level 0 is the coarse grid. The grid of each further level has half the spacing
    of the level before.

    The position of a parameter is a number u: 0 at the lower end of the parameter's range, and 1 at the upper end. With
    ``log=True``, u is linear in the logarithm of the parameter. u_best is the position of the parameter in the best
    point so far. For each parameter, a grid has the positions u_k::

        level 0    u_k = k / (points - 1),                       k = 0 ... points - 1
        level l    u_k = u_best + k / ((points - 1) 2^l),        k = -h ... h,    h = floor(points / 2)

    Positions outside of the range are omitted. Points of a coarser grid are not tried again. The order within a level
    is random. A categorical parameter has all its choices at every level.

    Parameters
    ----------
    space : {name: distribution}
        Distributions of Optuna: ``FloatDistribution``, ``IntDistribution`` or ``CategoricalDistribution``. An example
        is ``FloatDistribution(1e-5, 1.0, log=True)``.
    points : int
        Number of positions per parameter at level 0, at least 2. Each later level has at most
        ``2 * (points // 2) + 1`` positions per parameter.
    levels : int, optional
        Number of levels. By default, the search ends after the ``n_trials`` trials of ``study.optimize``, or when no
        finer grid has new points.
    key : Key, optional
        Draws the order within each level.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described. ``trial.suggest_...`` raises ValueError if the parameter is not in the
        space, or if the suggested range does not contain the value that the sampler has chosen.

    Notes
    -----
    Source: Bengio (2012), section 3.3.3. A failed or pruned trial is treated as worse than all completed trials. The
    study holds the whole state of the search. So a search can be stored, resumed and shared by several processes.

    Examples
    --------
    >>> import optuna
    >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
    >>> space = {"x": optuna.distributions.FloatDistribution(0.0, 1.0)}
    >>> study = optuna.create_study(sampler=MultiResolutionGridSampler(space, points=3))
    >>> study.optimize(lambda trial: (trial.suggest_float("x", 0.0, 1.0) - 0.3) ** 2, n_trials=11)
    >>> study.best_params
    {'x': 0.3125}
    """

    def __init__(
        self,
        space: Mapping[str, BaseDistribution],
        points: int = 3,
        levels: int | None = None,
        key: Key | None = None,
    ) -> None:
        call = type(self).__name__
        if not isinstance(space, Mapping) or not space:
            raise TypeError(f"{call}: space must be a dict {{name: distribution}} that is not empty; got {space!r}")
        for name, distribution in space.items():
            if not isinstance(distribution, (FloatDistribution, IntDistribution, CategoricalDistribution)):
                raise TypeError(f"{call}: space[{name!r}] must be a distribution of Optuna; got {distribution!r}")
        super().__init__(list(space))
        self._space, self._points = list(space.values()), whole_number(f"{call}: points", points, LARGEST)
        if self._points < 2:
            raise ValueError(f"{call}: points must be at least 2; got {points}")
        if levels is not None and whole_number(f"{call}: levels", levels, 2**31) < 1:
            raise ValueError(f"{call}: levels must be at least 1, or None; got {levels}")
        self._levels = FINEST if levels is None else min(levels, FINEST)
        self._key = Key(0) if key is None else key_of(call, key)
        middle: list[Place] = [Fraction(1, 2)] * len(self._space)
        size = math.prod(len(axis) for axis in self._axes(0, middle))
        if size > LARGEST:
            raise ValueError(
                f"{call}: space and points must give a coarse grid of at most {LARGEST:,} points; got {size:,}"
            )

    def next_point(self, results: Results, running: set[Point]) -> Point | None:
        """Return an untried point from the first level that has untried points, or None if no level has any."""
        centre: list[Place] = [Fraction(1, 2)] * len(self._space)
        seen: dict[Point, list[Place]] = {}
        for level in range(self._levels):
            grid = list(itertools.product(*self._axes(level, centre)))
            for i in permutation(len(grid), self._key.fold(level)).tolist():
                point = tuple(map(value_at, self._space, grid[i]))
                seen.setdefault(point, list(grid[i]))
                if point not in results and point not in running:
                    return point
            known = [point for point in seen if point in results]
            if known:
                centre = seen[min(known, key=results.__getitem__)]
        return None

    def _axes(self, level: int, centre: list[Place]) -> list[list[Place]]:
        """Return for each parameter its positions in the grid of a level. No two positions have the same value."""
        axes: list[list[Place]] = []
        for distribution, middle in zip(self._space, centre, strict=True):
            if isinstance(distribution, CategoricalDistribution):
                axes.append(list(range(len(distribution.choices))))
                continue
            spacing, half = Fraction(1, (self._points - 1) * 2**level), self._points // 2
            first, count = (middle - half * spacing, 2 * half + 1) if level else (Fraction(0), self._points)
            places = [first + k * spacing for k in range(count)]
            by_value = {value_at(distribution, place): place for place in places if 0 <= place <= 1}
            axes.append(list(by_value.values()))
        return axes


def value_at(distribution: BaseDistribution, place: Place) -> Any:
    """Return the parameter's value at a position of its axis."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(place)]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high, u = distribution.low, distribution.high, float(place)
    value = low * (high / low) ** u if distribution.log else low + (high - low) * u
    if distribution.step is not None:  # distributions of integers always have a step
        value = low + round((value - low) / distribution.step) * distribution.step
    value = min(max(value, low), high)
    return int(value) if isinstance(distribution, IntDistribution) else float(value)
