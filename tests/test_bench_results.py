"""Results of the benchmark: their files, comparisons of files, counts of instructions, and the time of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # bench/ is not installed

from bench import __main__ as command
from bench import compare, instructions, publish

from fusedstep._bench import harness, records, run
from support.results import document, files


def test_results_are_stored_without_samples_and_with_four_digits() -> None:
    small = records.reduce(document())
    assert json.loads(records.dump(small)) == small == records.reduce(small)
    assert "samples" not in records.dump(small) and '"gb_s": 12.35,' in records.dump(small)
    assert list(records.records(small)) != [] and small["cases"][0]["lines"][-1]["status"] == "not installed: numba"


@pytest.mark.parametrize(
    ("new", "status", "text"),
    [
        (1.02, 0, "0 became slower and 0 became faster"),
        (1.3, 1, "1 became slower and 0 became faster"),
        (0.7, 0, "0 became slower and 1 became faster"),
    ],
)
def test_command_compare_reports_only_changes_that_are_larger_than_the_intervals(
    new: float, status: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["compare", *files(tmp_path, document(), document(new))]) == status
    assert text in capsys.readouterr().out


def test_command_compare_counts_a_wrong_result_as_slower(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command also says that the two runs used different CPUs."""
    broken = document()
    broken["cases"][0]["lines"][0] |= {"status": "WRONG: 3 x", "over_yardstick": None, "seconds": None}
    broken["machine"]["cpu"] = "another"
    assert command.main(["compare", *files(tmp_path, document(), broken)]) == 1
    out = capsys.readouterr().out
    assert "WRONG: 3 x" in out and "Not the same cpu: a CPU and another" in out


def test_verdict_on_a_change_depends_on_the_intervals() -> None:
    """The arguments are the old ratio with its interval, the new ratio with its interval, and the tolerance.

    A ratio is the time of fusedstep divided by the time of the yardstick. Let q be the new
    ratio divided by the old ratio. There is a verdict only if the whole interval of q is above 1 + tolerance or below
    1 / (1 + tolerance).
    """
    assert compare.verdict((1.0, 0.9, 1.1), (1.15, 1.05, 1.25), 0.05) == ""
    assert compare.verdict((1.0, 0.9, 1.1), (1.2, 1.16, 1.3), 0.05) == "SLOWER"
    assert compare.verdict((1.0, 0.9, 1.1), (0.8, 0.7, 0.85), 0.05) == "faster"


def test_command_compare_names_cases_that_only_one_file_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = document()
    more["cases"].append(more["cases"][0] | {"name": "adam/250k"})
    for pair, place in ((more, document()), "0.json"), ((document(), more), "1.json"):
        assert command.main(["compare", *files(tmp_path, *pair)]) == 0
        assert f"Only in {tmp_path / place}: adam/250k\n" in capsys.readouterr().out


def spoilt(how: str) -> str:
    """Return the text of a results file that does not have the present format.

    `how` is the name of a missing entry, or a wrong value (as JSON) of the ratio to the yardstick.
    """
    other = document()
    first = other["cases"][0]["lines"][0]
    if how in other:
        del other[how]
    elif how == "cpu":
        del other["machine"]["cpu"]
    elif how == "lines":
        del other["cases"][0]["lines"]
    else:
        first["over_yardstick"] = json.loads(how)
    return json.dumps(other)


@pytest.mark.parametrize("how", ["machine", "targets", "cpu", "lines", "1.0", "[1.0, 1.0]", "[0, 0, 0]", "[NaN, 1, 1]"])
@pytest.mark.parametrize("verb", ["compare", "report"])
def test_results_in_another_format_are_refused_before_anything_is_written(
    verb: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("README", "PAGE", "PICTURES", "TORCH_PAGE"):
        monkeypatch.setattr(publish, name, tmp_path / name)
    monkeypatch.setattr(publish, "KEPT", tmp_path / "kept.json")
    path = tmp_path / "x.json"
    path.write_text(spoilt(how))
    with pytest.raises(SystemExit, match="2"):
        command.main([verb, *[str(path)] * (1 + (verb == "compare"))])
    assert "must be the results of `python -m bench`" in capsys.readouterr().err.splitlines()[-1]
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_report_that_cannot_be_written_does_not_change_the_stored_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "README", tmp_path / "README")
    monkeypatch.setattr(publish, "KEPT", tmp_path / "kept.json")
    (tmp_path / "README").write_text("no markers")
    with pytest.raises(SystemExit, match="2"):
        command.main(["report", *files(tmp_path, document())])
    assert not publish.KEPT.exists()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"cases": []}', '{"machine": {}, "cases": [{}]}', pytest.param("[" * 100_000, id="deep")]
)
def test_file_without_results_is_refused(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(SystemExit, match="2"):
        command.main(["compare", str(path), str(path)])
    assert "must be the results of `python -m bench`" in capsys.readouterr().err.splitlines()[-1]


def test_more_instructions_than_the_ceiling_are_reported() -> None:
    """A ceiling is the largest number of instructions that a step may execute. A missing ceiling is also reported."""
    ceilings = json.loads(instructions.CEILINGS.read_text())
    exact = dict(ceilings)
    assert not any(word for *_, word in instructions.judge(exact, ceilings))
    more = exact | {"Adam/8192": ceilings["Adam/8192"] + 1, "New/8192": 1}
    assert [word for *_, word in instructions.judge(more, ceilings) if word] == ["TOO MANY", "no ceiling: use --update"]


def test_every_workload_has_a_ceiling_and_runs() -> None:
    """A workload is a step whose instructions are counted. A ceiling is the largest allowed number of instructions."""
    every = instructions.workloads()
    assert set(every) == set(json.loads(instructions.CEILINGS.read_text()))
    for workload in every.values():
        workload()


def test_counting_instructions_without_valgrind_gives_an_error_that_names_valgrind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(instructions.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        command.main(["instructions"])
    assert "instructions needs valgrind" in capsys.readouterr().err


def test_slow_cases_shorten_later_ones_and_no_case_begins_after_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("fusedstep._bench.run.time.perf_counter", lambda: now[0])
    pace, plan = run.Pace(minutes=1, cases=4), harness.Sampling(budget_s=10.0)
    budgets = []
    for seconds in (20.0, 30.0, 15.0):
        chosen = pace.begin(plan)
        assert chosen is not None
        budgets.append(chosen.budget_s)
        now[0] += seconds
        pace.done()
    assert pace.begin(plan) is None
    assert budgets[0] == 10.0 and budgets[0] > budgets[1] > budgets[2] == run.LEAST_S


def test_time_that_is_reserved_for_a_case_is_not_given_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("fusedstep._bench.run.time.perf_counter", lambda: now[0])
    pace, plan = run.Pace(minutes=1, cases=2, reserved=40.0), harness.Sampling(budget_s=60.0)
    first = pace.begin(plan)
    assert first is not None and first.budget_s == 10.0
    now[0] = 10.0
    pace.done()
    last = pace.begin(plan, reserve=40.0)
    assert last is not None and last.budget_s == 10.0
    now[0] = 60.0
    pace.done()
    # The list starts with 0.0. Each case appends the seconds by which it exceeded the sum of its budget and its
    # reserved time.
    assert pace.spent == [0.0, 0.0, 0.0]
    # cases with reserved time run last
    reserved = {"compiled/mlp": 40.0, "adam/gpt2": 0.0, "adam/250k": 0.0}
    made = [SimpleNamespace(name=k, quick=k == "adam/250k", reserve_s=s) for k, s in reserved.items()]
    assert [case.name for case in sorted(made, key=run.importance)] == ["adam/250k", "adam/gpt2", "compiled/mlp"]


def test_slow_steps_reduce_the_number_of_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """If LEAST_ROUNDS rounds would take longer than `limit_s`, the implementation is not timed."""
    clock = [0.0]
    monkeypatch.setattr("fusedstep._bench.harness.time.perf_counter", lambda: clock[0])

    def step() -> None:
        clock[0] += 1.0

    runner: Callable[..., Any] = SimpleNamespace(step=step, refill=None)  # type: ignore[assignment]
    timings = harness.measure({"a": runner}, harness.Sampling(min_rounds=50, settle_s=0.0, limit_s=3.0))
    assert len(timings["a"].samples) in (harness.LEAST_ROUNDS, harness.LEAST_ROUNDS + 1)
    assert harness.measure({"a": runner}, harness.Sampling(min_rounds=50, settle_s=0.0, limit_s=2.9)) == {}


def test_cases_of_the_quick_run_come_first() -> None:
    made = [SimpleNamespace(name=name, quick=name == "adam/250k") for name in ("adam/gpt2", "adam/250k")]
    assert [case.name for case in sorted(made, key=run.importance)] == ["adam/250k", "adam/gpt2"]


def test_run_of_all_suites_omits_some_cases_so_that_it_takes_ten_minutes() -> None:
    """`of_one_suite` returns True for a case that is omitted if several suites run."""
    omitted = ["sgd/gpt2", "lion/resnet18", "accuracy/digits 256-256", "fit/64-64 float32"]
    timed = ["adam/gpt2", "full/gpt2", "lion/10M", "digits/256-256", "fit/256-256", "accuracy/digits"]
    assert [name for name in omitted + timed if run.of_one_suite(SimpleNamespace(name=name))] == omitted
