"""The benchmark of estimators: fusedstep and scikit-learn train the same weights, and the verdicts are correct."""

from __future__ import annotations

from typing import Any

import pytest

from fusedstep._bench import harness
from fusedstep._bench.sklearn import report, suite
from fusedstep._bench.sklearn.cases import CASES, OURS, OURS_FLOAT32, TARGETS, THEIRS, Case, Target

PLAN = harness.Sampling(budget_s=0.01, min_rounds=3, max_rounds=3, settle_s=0.0)
FIT = Case("fit/tiny", "wine", (4,), 64)
ACCURACY = Case("accuracy/tiny", "wine", (4,), 64, accuracy=True)


@pytest.fixture(autouse=True)
def short_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "EPOCHS", 2)
    monkeypatch.setattr(suite, "ACCURACY_EPOCHS", 2)


def test_fits_are_checked_and_timed() -> None:
    result = suite.run_case(FIT, PLAN)
    assert [line.name for line in result.lines] == [THEIRS, OURS, OURS_FLOAT32]
    assert all(line.status == "timed" and line.seconds and line.over_ours for line in result.lines)
    assert result.lines[1].error is not None and result.lines[1].error < 1e-9 and result.lines[1].over_ours == (1, 1, 1)
    assert [line["mine"] for line in result.as_dict()["lines"]] == [False, True, False]


def test_fit_with_other_weights_than_scikit_learn_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    make = suite.make

    def other(name: str, case: Case, epochs: int) -> Any:
        return make(name, case, epochs).set_params(learning_rate_init=0.1) if name == OURS else make(name, case, epochs)

    monkeypatch.setattr(suite, "make", other)
    line = suite.run_case(FIT, PLAN).line(OURS)
    assert line is not None and line.seconds is None and line.status.startswith("WRONG: weights")


def test_targets_with_a_bound_are_about_time_and_others_about_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    """A target without a bound is met if the accuracy of fusedstep is at least that of scikit-learn.

    A target with a bound is met if the time of scikit-learn divided by the time of fusedstep is at least the bound. The
    test also checks that the title of the printed table describes the fit.
    """
    result = suite.run_case(ACCURACY, PLAN)
    ours, theirs = result.line(OURS), result.line(THEIRS)
    assert ours is not None and theirs is not None and ours.accuracy == theirs.accuracy
    assert report.judge(Target(ACCURACY.name), {ACCURACY.name: result})["met"]
    ours.accuracy = 0.0
    assert not report.judge(Target(ACCURACY.name), {ACCURACY.name: result})["met"]
    fit = suite.run_case(FIT, PLAN)
    line = fit.line(THEIRS)
    assert line is not None
    for ratio in (1.9, 2.0):
        line.over_ours = (ratio, ratio, ratio)
        assert report.judge(Target(FIT.name, 2.0), {FIT.name: fit})["met"] is (ratio == 2.0)
    assert report.judge(Target(FIT.name, 2.0), {})["met"] is None
    report.print_case(fit)
    assert "fit of 10 epochs, MLPClassifier((4,), batch_size=64), data set wine" in capsys.readouterr().out


def test_every_target_has_a_case() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) and {target.case for target in TARGETS} <= set(names)
