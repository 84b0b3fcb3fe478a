"""`border_report`, which lists hyperparameters whose best value is at the border of a range or of a grid."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from fusedstep import search
from fusedstep.search import BorderWarning, MultiResolutionGridSampler
from support.searches import SPACE, optuna, quiet, valley  # noqa: F401 (quiet is an automatic fixture)


def report(sampler: Any, f: Any, n: int, **options: Any) -> list[search.Border]:
    """Run n trials of f, and return the result of `border_report`. Check that each `Border` in it has a warning."""
    study = optuna.create_study(sampler=sampler)
    study.optimize(f, n_trials=n)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = search.border_report(study, **options)
    assert [str(w.message) for w in caught] == [str(border) for border in found]
    assert all(w.category is BorderWarning and w.filename == __file__ for w in caught)
    return found


def test_best_value_on_the_border_is_reported_and_best_value_inside_is_not() -> None:
    """A parameter in `ignore` is not reported."""

    def f(trial: Any) -> float:
        return float(trial.suggest_float("lr", 1e-4, 1.0, log=True) + (trial.suggest_float("x", 0, 1) - 0.5) ** 2)

    (border,) = report(MultiResolutionGridSampler(SPACE), f, 30)
    assert border == ("lr", 1e-4, "low", 1e-4, 1.0)
    assert str(border).endswith("lies on the lower border of [0.0001, 1]: search below 0.0001 too")
    assert report(MultiResolutionGridSampler(SPACE), f, 30, ignore={"lr"}) == []
    assert report(MultiResolutionGridSampler(SPACE, points=5, levels=6), valley, 200) == []


def test_best_value_at_the_end_of_a_grid_is_reported_even_if_the_range_of_the_parameter_is_wider() -> None:
    grid = {"lr": [1e-3, 1e-2, 1e-1], "n": [1, 2, 3]}

    def f(trial: Any) -> float:
        return float(-trial.suggest_float("lr", 1e-6, 1e6, log=True) + (trial.suggest_int("n", 0, 9) - 2) ** 2)

    assert report(optuna.samplers.GridSampler(grid), f, 9) == [("lr", 0.1, "high", 1e-3, 1e-1)]


def test_choices_that_are_numbers_have_borders_and_choices_that_are_strings_have_none() -> None:
    """A parameter with only one possible value has no border."""

    def f(trial: Any) -> float:
        width = trial.suggest_categorical("width", [64, 16, 32])
        return float(
            -width + len(trial.suggest_categorical("kind", ["a", "bb", "ccc"])) + trial.suggest_int("one", 1, 1)
        )

    sampler = optuna.samplers.GridSampler({"width": [16, 32, 64], "kind": ["a", "bb", "ccc"], "one": [1]})
    assert [border.name for border in report(sampler, f, 9)] == ["width"]


def test_best_value_of_a_random_search_is_compared_with_the_range_of_the_parameter() -> None:
    sampler = optuna.samplers.RandomSampler(seed=1)
    assert report(sampler, lambda trial: (trial.suggest_float("x", 0, 1) - 0.5) ** 2, 30) == []
    assert [b.side for b in report(sampler, lambda trial: -trial.suggest_float("x", 0, 1), 100)] == ["high"]


def test_border_report_refuses_wrong_arguments() -> None:
    study = optuna.create_study()
    with pytest.raises(
        ValueError,
        match=r"border_report: study must have at least one completed trial; got none \(\d+ failed or pruned\)",
    ):
        search.border_report(study)
    with pytest.raises(TypeError, match=r"border_report: study must be an optuna.Study; got int"):
        search.border_report(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"border_report: tolerance must be below 0.5; got 0.7"):
        search.border_report(study, tolerance=0.7)
    with pytest.raises(ValueError, match=r"border_report: study must have one objective; got 2"):
        search.border_report(optuna.create_study(directions=["minimize"] * 2))
