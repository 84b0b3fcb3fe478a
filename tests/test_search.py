"""Optuna samplers for coordinate descent and for grids that become finer: the points that they try.

The tests also resume stored studies, and run several trials at the same time.
"""

from __future__ import annotations

import itertools
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest

import fusedstep as fs
from fusedstep.search import CoordinateDescentSampler, MultiResolutionGridSampler
from support.searches import SPACE, Float, optuna, quiet, valley  # noqa: F401 (quiet acts by itself)

Int = optuna.distributions.IntDistribution
Categorical = optuna.distributions.CategoricalDistribution

GRID = {"x": [0, 1, 2, 3, 4], "y": [0, 1, 2, 3]}


def bowl(trial: Any) -> float:
    """Return the value of a function of x and y, which has the minimum at (3, 1)."""
    x, y = trial.suggest_int("x", 0, 4), trial.suggest_int("y", 0, 3)
    return float((x - 3) ** 2 + (y - 1) ** 2 + 0.5 * (x - 3) * (y - 1))


def points(study: Any) -> list[tuple[Any, ...]]:
    return [tuple(trial.params.values()) for trial in study.trials]


# coordinate descent


def test_coordinate_descent_tries_the_expected_points() -> None:
    """The search tries all values of one parameter. From the best point, it then tries all values of the other one."""
    sampler = CoordinateDescentSampler(GRID, start={"x": 0, "y": 3})
    study = optuna.create_study(sampler=sampler)
    study.optimize(bowl, n_trials=11)
    assert points(study)[:5] == [(0, 3), (1, 3), (2, 3), (3, 3), (4, 3)]  # along x, from the start
    # The least value is 4, at (2, 3) and (3, 3). The search continues along y from the first of these two points.
    assert points(study)[5:8] == [(2, 0), (2, 1), (2, 2)]
    assert points(study)[8:] == [(0, 1), (1, 1), (3, 1)]  # from (2, 1) along x again
    assert study.best_params == {"x": 3, "y": 1}


def test_coordinate_descent_can_maximise() -> None:
    study = optuna.create_study(direction="maximize", sampler=CoordinateDescentSampler(GRID))
    study.optimize(lambda trial: -bowl(trial), n_trials=12)
    assert study.best_params == {"x": 3, "y": 1}


def test_coordinate_descent_restarts_until_every_grid_point_has_been_tried() -> None:
    """After the 20 points of the grid, another `optimize` warns, and stops after one trial."""
    study = optuna.create_study(sampler=CoordinateDescentSampler(GRID))
    study.optimize(bowl, n_trials=1000)
    assert sorted(points(study)) == sorted(itertools.product(*GRID.values()))
    with pytest.warns(UserWarning, match="every point has been tried"):
        study.optimize(bowl, n_trials=10)
    assert len(study.trials) == 21


def test_coordinate_descent_tries_every_point_once_if_some_trials_fail_or_are_pruned() -> None:
    """Trials with x = 3 are pruned, and other trials with y = 1 fail with nan."""

    def broken(trial: Any) -> float:
        value = bowl(trial)
        if trial.params["x"] == 3:
            raise optuna.TrialPruned
        if trial.params["y"] == 1:
            return float("nan")
        return value

    study = optuna.create_study(sampler=CoordinateDescentSampler(GRID))
    study.optimize(broken, n_trials=1000)
    assert len(set(points(study))) == len(points(study)) == 20
    assert study.best_params in ({"x": 2, "y": 2}, {"x": 4, "y": 0})  # both have the value 1.5


def test_coordinate_descent_accepts_strings_none_booleans_and_floats_as_values() -> None:
    grid = {"kind": ["adam", "sgd", None], "flag": [True, False], "lr": [1e-3, 1e-2, 0.1]}
    study = optuna.create_study(sampler=CoordinateDescentSampler(grid))

    def f(trial: Any) -> float:
        kind = trial.suggest_categorical("kind", ["adam", "sgd", None])
        flag, lr = trial.suggest_categorical("flag", [False, True]), trial.suggest_float("lr", 1e-5, 1.0, log=True)
        return float((kind != "adam") + (not flag) + lr)

    study.optimize(f, n_trials=20)
    assert study.best_params == {"kind": "adam", "flag": True, "lr": 1e-3}


# multi-resolution


def test_multi_resolution_sampler_halves_the_spacing_around_the_best_point() -> None:
    """The optimum is at x = 5.1."""
    space = {"x": Float(0.0, 16.0)}
    study = optuna.create_study(sampler=MultiResolutionGridSampler(space, points=5, levels=3))
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 16) - 5.1) ** 2, n_trials=1000)
    found = [x for (x,) in points(study)]
    assert sorted(found[:5]) == [0, 4, 8, 12, 16]
    assert sorted(found[5:7]) == [2, 6]  # the grid around 4 is 0, 2, 4, 6, 8, and 0, 4 and 8 are known
    assert sorted(found[7:9]) == [5, 7]  # the grid around 6 is 4, 5, 6, 7, 8, and 4, 6 and 8 are known
    assert len(found) == 9


def test_multi_resolution_sampler_halves_the_spacing_of_logarithms_for_a_logarithmic_range() -> None:
    """The first grid is 1e-4, 1e-2, 1. Its best point is 1e-4, so the finer grid adds only 1e-3."""
    study = optuna.create_study(sampler=MultiResolutionGridSampler({"lr": SPACE["lr"]}, points=3, levels=2))
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-4, 1.0, log=True), n_trials=100)
    assert sorted(lr for (lr,) in points(study)) == pytest.approx([1e-4, 1e-3, 1e-2, 1.0])


@pytest.mark.parametrize("per_axis", [2, 3, 4, 5])
def test_multi_resolution_sampler_approaches_the_optimum(per_axis: int) -> None:
    """The optimum of `valley` is at x = 0.3, lr = 0.03. No point is tried twice."""
    study = optuna.create_study(sampler=MultiResolutionGridSampler(SPACE, points=per_axis, levels=10))
    study.optimize(valley, n_trials=1000)
    assert study.best_params["x"] == pytest.approx(0.3, abs=0.01)
    assert study.best_params["lr"] == pytest.approx(0.03, rel=0.05)
    assert len(set(points(study))) == len(points(study))


def test_multi_resolution_sampler_over_integers_and_choices_ends_by_itself() -> None:
    """The study ends with fewer than 500 trials. It finds the optimum, and repeats no point."""
    space = {"n": Int(1, 100), "step": Int(0, 20, step=5), "log": Int(1, 64, log=True), "kind": Categorical(["a", "b"])}
    study = optuna.create_study(sampler=MultiResolutionGridSampler(space, points=3))

    def f(trial: Any) -> float:
        n, step = trial.suggest_int("n", 1, 100), trial.suggest_int("step", 0, 20, step=5)
        log, kind = trial.suggest_int("log", 1, 64, log=True), trial.suggest_categorical("kind", ["a", "b"])
        return float(abs(n - 37) + abs(step - 15) + abs(log - 11) + (kind == "a"))

    study.optimize(f, n_trials=5000)
    assert len(study.trials) < 500 and len(set(points(study))) == len(study.trials)
    assert study.best_params == {"n": 37, "step": 15, "log": 11, "kind": "b"}


# both samplers


# Each value is (function that makes a sampler, objective, number of trials).
SAMPLERS = {
    "coordinate": (lambda: CoordinateDescentSampler(GRID, key=fs.Key(3)), bowl, 20),
    "multiresolution": (lambda: MultiResolutionGridSampler(SPACE, key=fs.Key(3)), valley, 25),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_resumed_study_tries_the_points_of_an_uninterrupted_study(name: str, tmp_path: Path) -> None:
    """The study is stored in a journal file, and resumed twice."""
    make, f, n = SAMPLERS[name]
    whole = optuna.create_study(sampler=make())
    whole.optimize(f, n_trials=n)
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal"))
    for part in (4, 7, n - 11):
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend), study_name="s", load_if_exists=True, sampler=make()
        )
        study.optimize(f, n_trials=part)
    assert points(study) == points(whole)


def test_study_resumed_from_a_database_repeats_no_point() -> None:
    make, f, n = SAMPLERS["multiresolution"]
    storage = optuna.storages.RDBStorage("sqlite:///:memory:")
    for _ in range(2):
        study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True, sampler=make())
        study.optimize(f, n_trials=n // 2)
    assert len(set(points(study))) == len(points(study)) == n // 2 * 2


@pytest.mark.parametrize("name", SAMPLERS)
def test_points_of_running_trials_are_not_tried_again(name: str) -> None:
    """In `study`, four trials run at the same time, and end in reverse order. In `other`, three threads run trials."""
    make, f, _ = SAMPLERS[name]
    study, other = (optuna.create_study(sampler=make()) for _ in range(2))
    for _ in range(4):
        running = [study.ask() for _ in range(4)]
        values = [f(trial) for trial in running]
        for trial, value in reversed(list(zip(running, values, strict=True))):
            study.tell(trial, value)
    assert len(set(points(study))) == len(study.trials) == 16
    other.optimize(f, n_trials=14, n_jobs=3)
    assert len(set(points(other))) == 14


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_continues_from_trials_that_it_did_not_suggest(name: str) -> None:
    """The sampler of `alone` suggests six points. In `study`, the first five are enqueued, and then a different point.

    After these six trials, the sampler of `study` suggests the sixth point of `alone`.
    """
    make, f, _ = SAMPLERS[name]
    alone = optuna.create_study(sampler=make())
    alone.optimize(f, n_trials=6)
    study = optuna.create_study(sampler=make())
    for trial in alone.trials[:5]:
        study.enqueue_trial(trial.params)
    study.enqueue_trial({"x": 1, "y": 1} if name == "coordinate" else {"x": 0.123, "lr": 0.5})
    study.optimize(f, n_trials=7)
    assert points(study)[6] == points(alone)[5]


@pytest.mark.parametrize("name", SAMPLERS)
def test_unpickled_copy_of_a_sampler_tries_the_points_of_the_original(name: str) -> None:
    make, f, _ = SAMPLERS[name]
    studies = [optuna.create_study(sampler=sampler) for sampler in (make(), pickle.loads(pickle.dumps(make())))]
    for study in studies:
        study.optimize(f, n_trials=12)
    assert points(studies[0]) == points(studies[1])


@pytest.mark.parametrize("name", SAMPLERS)
def test_sampler_refuses_studies_and_trials_that_it_does_not_support(name: str) -> None:
    """An unknown parameter, a wrong range, two objectives and an incomplete enqueued trial are refused."""
    make, f, _ = SAMPLERS[name]
    study = optuna.create_study(sampler=make())
    with pytest.raises(ValueError, match=r"Sampler: a suggested parameter must be one of \['x', "):
        study.optimize(lambda trial: trial.suggest_float("z", 0, 1), n_trials=1)
    with pytest.raises(ValueError, match=r"Sampler: the suggested distribution of 'x' must contain .*; got Float"):
        optuna.create_study(sampler=make()).optimize(lambda trial: trial.suggest_float("x", 7.0, 8.0), n_trials=1)
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=make())
    with pytest.raises(ValueError, match=r"Sampler: study must have one objective; got 2"):
        study.optimize(lambda trial: (f(trial), 1.0), n_trials=1)
    study = optuna.create_study(sampler=make())
    study.enqueue_trial({"x": 1})
    with pytest.raises(ValueError, match=r"Sampler: an enqueued trial must have all parameters; '\w+' is missing"):
        study.optimize(f, n_trials=1)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: CoordinateDescentSampler({}), TypeError, r"CoordinateDescentSampler: grid must be a dict"),
        (
            lambda: CoordinateDescentSampler({"x": "abc"}),
            TypeError,
            r"grid\['x'\] must be a list of at least one value",
        ),
        (lambda: CoordinateDescentSampler({"x": [1, 1]}), ValueError, r"grid\['x'\] must not have a value twice"),
        (lambda: CoordinateDescentSampler({"x": [[1]]}), TypeError, r"each value of 'x' must be a number, a string"),
        (lambda: CoordinateDescentSampler({"x": [float("nan")]}), ValueError, r"values of 'x' must be finite; got nan"),
        (lambda: CoordinateDescentSampler(GRID, {"x": 1}), ValueError, r"start must have the parameters \['x', 'y'\]"),
        (
            lambda: CoordinateDescentSampler(GRID, {"x": 9, "y": 1}),
            ValueError,
            r"start\['x'\] must be one of .*; got 9",
        ),
        (lambda: MultiResolutionGridSampler({}), TypeError, r"MultiResolutionGridSampler: space must be a dict"),
        (
            lambda: MultiResolutionGridSampler({"x": [1, 2]}),
            TypeError,
            r"space\['x'\] must be a distribution of Optuna",
        ),
        (lambda: MultiResolutionGridSampler(SPACE, 1), ValueError, r"points must be at least 2; got 1"),
        (lambda: MultiResolutionGridSampler(SPACE, levels=0), ValueError, r"levels must be at least 1, or None; got 0"),
        (lambda: MultiResolutionGridSampler(SPACE, 2000), ValueError, r"at most 1,000,000 points; got 4,000,000"),
    ],
)
def test_samplers_refuse_wrong_arguments(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_import_error_without_optuna_contains_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [
        name for name in sys.modules if name.split(".")[0] == "optuna" or name.startswith("fusedstep.search")
    ]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r"the package optuna is missing: pip install 'fusedstep\[search\]'"):
        import fusedstep.search  # noqa: F401
