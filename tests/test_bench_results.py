"""Results of the benchmark: files, comparisons, tables, instruction counts, and the time that a run takes."""

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
from bench import compare, instructions, pictures, publish

from fusedstep._bench import harness, records, run

QUIET: dict[str, Any] = {"distance": 1.02, "others": 0.01, "stolen": 0.0, "disturbed": []}


def line(name: str, over_ours: float, over_yardstick: float = 1.0, **more: Any) -> dict[str, Any]:
    def around(x: float) -> list[float]:
        return [x, 0.98 * x, 1.02 * x]

    figures = {"seconds": 1e-3 * over_ours, "gb_s": 12.3456789, "samples": [1.0, 2.0], "status": "timed"}
    ratios = {"over_ours": around(over_ours), "over_yardstick": around(over_yardstick)}
    return {"name": name, "mine": name == "fusedstep", **figures, **ratios, **more}


def document(ours: float = 1.0, torch: float = 2.0) -> dict[str, Any]:
    lines = [line("fusedstep", 1.0, ours), line("roofline", 1 / ours), line("torch fused", torch)]
    absent = {"name": "numba", "mine": False, "status": "not installed: numba", "seconds": None}
    case = {"suite": "optim", "name": "adam/50M", "what": "Adam", "elements": 9, "bytes_per_element": 28}
    machine = {"cpu": "a CPU", "threads": 2, "isa": ["v4"], "versions": {"numpy": "2.0"}, "state": QUIET}
    return {
        "machine": machine,
        "cases": [case | {"yardstick": "roofline", "lines": [*lines, absent]}],
        "targets": [{"case": "adam/50M", "value": 1.23456789, "met": True}],
        "out_of_time": ["adam/gpt2"],
    }


def files(folder: Path, *documents: dict[str, Any]) -> list[str]:
    paths = [folder / f"{k}.json" for k in range(len(documents))]
    for path, content in zip(paths, documents, strict=True):
        path.write_text(json.dumps(content))
    return [str(path) for path in paths]


def test_reduced_results_are_small_and_say_the_same() -> None:
    small = records.reduce(document())
    assert json.loads(records.dump(small)) == small == records.reduce(small)
    assert "samples" not in records.dump(small) and '"gb_s": 12.35,' in records.dump(small)
    assert list(records.records(small)) != [] and small["cases"][0]["lines"][-1]["status"] == "not installed: numba"


@pytest.mark.parametrize(
    ("new", "status", "text"),
    [(1.02, 0, "0 slower, 0 faster"), (1.3, 1, "1 slower, 0 faster"), (0.7, 0, "0 slower, 1 faster")],
)
def test_compare_reports_only_changes_beyond_the_intervals(
    new: float, status: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["compare", *files(tmp_path, document(), document(new))]) == status
    assert text in capsys.readouterr().out


def test_compare_counts_what_has_no_figure_any_more_as_slower(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = document()
    broken["cases"][0]["lines"][0] |= {"status": "WRONG: 3 x", "over_yardstick": None, "seconds": None}
    broken["machine"]["cpu"] = "another"
    assert command.main(["compare", *files(tmp_path, document(), broken)]) == 1
    out = capsys.readouterr().out
    assert "WRONG: 3 x" in out and "Not the same cpu: a CPU and another" in out


def test_intervals_decide() -> None:
    assert compare.verdict((1.0, 0.9, 1.1), (1.15, 1.05, 1.25), 0.05) == ""
    assert compare.verdict((1.0, 0.9, 1.1), (1.2, 1.16, 1.3), 0.05) == "SLOWER"
    assert compare.verdict((1.0, 0.9, 1.1), (0.8, 0.7, 0.85), 0.05) == "faster"


def test_compare_names_what_only_one_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = document()
    more["cases"].append(more["cases"][0] | {"name": "adam/250k"})
    for pair, place in ((more, document()), "0.json"), ((document(), more), "1.json"):
        assert command.main(["compare", *files(tmp_path, *pair)]) == 0
        assert f"Only in {tmp_path / place}: adam/250k\n" in capsys.readouterr().out


def spoilt(how: str) -> str:
    """Return the results of another version, as text."""
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
def test_results_of_another_version_are_refused_before_anything_is_written(
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


def test_a_report_that_cannot_be_written_leaves_the_kept_results(
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
def test_another_file_is_refused_in_one_line(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(SystemExit, match="2"):
        command.main(["compare", str(path), str(path)])
    assert "must be the results of `python -m bench`" in capsys.readouterr().err.splitlines()[-1]


def test_readme_and_page_are_what_the_kept_results_give() -> None:
    kept = records.read(publish.KEPT)
    readme = publish.README.read_text("utf-8")
    assert publish.with_block(readme, publish.readme_block(kept)) == readme, "run `python -m bench report`"
    torch_page = publish.TORCH_PAGE.read_text("utf-8")
    assert publish.with_block(torch_page, publish.torch_block(kept)) == torch_page, "run `python -m bench report`"
    assert publish.page(kept) == publish.PAGE.read_text("utf-8"), "run `python -m bench report`"
    for name in pictures.TITLES:
        assert (publish.PICTURES / f"{name}.png").stat().st_size < 150_000


def test_every_lost_comparison_is_listed() -> None:
    def outcome(**times: float) -> str:
        return "\n".join(publish.outcome(list(records.records(document(**times)))))

    start = "In 1 comparisons with other libraries, fusedstep is "
    assert outcome() == f"{start}faster in 1, equal within the interval in 0, slower in 0."
    assert outcome(torch=1.01) == f"{start}faster in 0, equal within the interval in 1, slower in 0."
    lost = outcome(torch=0.9)
    assert lost.startswith(f"{start}faster in 0, equal within the interval in 0, slower in 1.")
    assert "adam/50M: torch fused takes 0.90 [0.88, 0.92] slower; both are at the speed of the yardstick" in lost
    assert publish.UNKNOWN in outcome(ours=1.5, torch=0.9)


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let `report` write into an empty folder."""
    for name in ("README", "PAGE", "PICTURES", "TORCH_PAGE"):
        monkeypatch.setattr(publish, name, tmp_path / name)
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    monkeypatch.setattr(publish, "KEPT", tmp_path / "kept.json")
    for name in ("README", "TORCH_PAGE"):
        (tmp_path / name).write_text(f"{publish.BEGIN}\n{publish.END}\n")
    return tmp_path


def test_report_writes_everything(pages: Path) -> None:
    for name in ("README", "TORCH_PAGE"):
        (pages / name).write_text(f"before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n")
    assert command.main(["report", *files(pages, document())]) == 0
    text = (pages / "README").read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "fusedstep is faster in 1" in text and "| float32 | fusedstep |" in text
    page = (pages / "PAGE").read_text()
    assert "| Adam, one tensor of 50M | **1.00 ms** | 1.00 [0.98, 1.02] | 2.00 [1.96, 2.04] faster |" in page
    counted = "faster in 1, equal within the interval in 0, slower in 0"
    assert f"**In short:** against torch, fusedstep is {counted} (2.00 [1.96, 2.04] times as long)." in page
    assert "| numba | not installed: numba |" in page
    assert (pages / "kept.json").exists()


def disturbed(*reasons: str) -> dict[str, Any]:
    result = document()
    result["machine"]["state"] = QUIET | {"disturbed": list(reasons)}
    return result


def test_results_of_a_disturbed_machine_are_refused_before_anything_is_written(
    pages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file.name: file.read_text() for file in pages.iterdir()}
    with pytest.raises(SystemExit, match="2"):
        command.main(["report", *files(pages, disturbed("other processes took 1.30 CPUs", "the cores differ"))])
    error = capsys.readouterr().err.splitlines()[-1]
    assert "0.json must be of a quiet machine; got: other processes took 1.30 CPUs; the cores differ." in error
    assert {file.name: file.read_text() for file in pages.iterdir() if file.name != "0.json"} == before


def test_results_without_the_state_of_the_machine_are_refused(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = document()
    del old["machine"]["state"]
    with pytest.raises(SystemExit, match="2"):
        command.main(["report", *files(pages, old)])
    assert "it has no record of that" in capsys.readouterr().err.splitlines()[-1]


def test_what_is_published_of_a_disturbed_machine_says_so(pages: Path) -> None:
    assert command.main(["report", "--disturbed", *files(pages, disturbed("other processes took 1.30 CPUs"))]) == 0
    for name in ("README", "PAGE"):
        assert "The machine was disturbed: other processes took 1.30 CPUs." in (pages / name).read_text()


def test_a_case_during_which_others_worked_says_so(pages: Path) -> None:
    results = document()
    results["cases"][0]["load"] = {"seconds": 2.0, "others": 0.4, "stolen": 0.02, "disturbed": True}
    assert command.main(["report", *files(pages, results)]) == 0
    assert "yardstick: roofline; other processes took 0.42 CPUs" in (pages / "PAGE").read_text()


def test_time_until_a_compiled_step_is_ready_is_published(pages: Path) -> None:
    results = document()
    results["cases"][0]["lines"].append(line("torch.compile", 3.0, ready_s=31.5))
    assert command.main(["report", *files(pages, results)]) == 0
    assert "| torch.compile, ready after 31.5 s | 3.00 ms |" in (pages / "PAGE").read_text()


def test_ratio_in_the_table_is_of_outputs_of_the_same_kind() -> None:
    mine = [line(f"fusedstep v4, {kind}", 1.0, mine=True, seconds=s) for kind, s in (("out", 1e-3), ("new", 9e-3))]
    peer = [line(f"torch, {kind}", x, seconds=s) for kind, x, s in (("out", 5.0, 5e-3), ("new", 0.7, 6.3e-3))]
    lines = list(records.records({"cases": [document()["cases"][0] | {"lines": [*mine, *peer]}]}))
    rows = [publish.table_row(label, own, [("torch", "torch")]) for label, own in publish.rows_of_page(lines)]
    assert [(row[0], row[1], row[3]) for row in rows if row] == [
        ("Adam, one tensor of 50M, into given memory", "**1.00 ms**", "5.00 [4.90, 5.10] faster"),
        ("Adam, one tensor of 50M, into new memory", "**9.00 ms**", "0.70 [0.69, 0.71] slower"),
    ]


def test_readme_has_five_rows_and_each_is_a_row_of_the_page() -> None:
    kept = list(records.records(records.read(publish.KEPT)))
    assert len(publish.SHORT) == 5
    assert set(publish.SHORT) <= {label for label, _ in publish.rows_of_page(kept)}


def test_training_in_torch_has_its_table() -> None:
    assert "no training in PyTorch" in publish.torch_block(document())
    lines = document() | {"cases": [case | {"suite": "torch", "name": "mlp/step"} for case in document()["cases"]]}
    text = publish.torch_block(lines)
    assert "| **1.00 ms** |" in text and "2.00 ms (2.00 [1.96, 2.04] faster)" in text and text.count("mlp/step") == 1


def test_instructions_above_their_ceiling_fail() -> None:
    ceilings = json.loads(instructions.CEILINGS.read_text())
    exact = dict(ceilings)
    assert not any(word for *_, word in instructions.judge(exact, ceilings))
    more = exact | {"Adam/8192": ceilings["Adam/8192"] + 1, "New/8192": 1}
    assert [word for *_, word in instructions.judge(more, ceilings) if word] == ["TOO MANY", "no ceiling: --update"]


def test_every_workload_has_a_ceiling_and_runs() -> None:
    every = instructions.workloads()
    assert set(every) == set(json.loads(instructions.CEILINGS.read_text()))
    for workload in every.values():
        workload()


def test_without_valgrind_the_count_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(instructions.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        command.main(["instructions"])
    assert "instructions needs valgrind" in capsys.readouterr().err


def test_a_run_that_is_late_gives_the_rest_less_and_then_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_busy_machine_cuts_the_rounds_short(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_run_of_all_suites_leaves_out_cases_beyond_ten_minutes() -> None:
    left = ["sgd/gpt2", "lion/resnet18", "accuracy/digits 256-256", "fit/64-64 float32"]
    taken = ["adam/gpt2", "full/gpt2", "lion/10M", "digits/256-256", "fit/256-256", "accuracy/digits"]
    assert [name for name in left + taken if run.of_one_suite(SimpleNamespace(name=name))] == left
