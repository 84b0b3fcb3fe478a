"""`python -m bench report` writes README's table, pages and pictures. It refuses results of a busy machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # bench/ is not installed

from bench import __main__ as command
from bench import page, pictures, publish, tables

from fusedstep._bench import records
from support.results import QUIET, document, files, line


def test_readme_and_pages_have_the_numbers_of_the_stored_results() -> None:
    """The test also checks that all pictures exist and that their files are small."""
    kept = records.read(publish.KEPT)
    readme = publish.README.read_text("utf-8")
    assert publish.with_block(readme, tables.readme_block(kept)) == readme, "run `python -m bench report`"
    torch_page = publish.TORCH_PAGE.read_text("utf-8")
    assert publish.with_block(torch_page, tables.torch_block(kept)) == torch_page, "run `python -m bench report`"
    assert page.page(kept) == publish.PAGE.read_text("utf-8"), "run `python -m bench report`"
    for name in pictures.TITLES:
        assert (publish.PICTURES / f"{name}.png").stat().st_size < 150_000


def test_every_comparison_in_which_another_library_is_faster_is_listed() -> None:
    """The list gives a reason for each such comparison.

    In this test, the reason is LIMIT (the memory limits the speed) if fusedstep is about as fast as the yardstick, and
    UNKNOWN if fusedstep is slower than the yardstick. The yardstick is a loop that does little more than read and write
    as many bytes as a step of fusedstep.
    """

    def outcome(**times: float) -> str:
        return "\n".join(tables.outcome(list(records.records(document(**times)))))

    one = "Only one row for other libraries has a ratio. According to this ratio, fusedstep is "
    start = f"The table shows a part of the results. {one}"
    assert outcome() == f"{start}faster."
    assert outcome(torch=1.01) == f"{start}equal within the interval."
    lost = outcome(torch=0.9)
    assert lost.startswith(f"{start}slower.")
    assert f"- adam/50M: torch fused takes 0.90 [0.88, 0.92] times as long as fusedstep. {tables.LIMIT}." in lost
    assert tables.UNKNOWN in outcome(ours=1.5, torch=0.9)


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder into which `report` writes. It has only README and TORCH_PAGE, without text and tables."""
    for name in ("README", "PAGE", "PICTURES", "TORCH_PAGE"):
        monkeypatch.setattr(publish, name, tmp_path / name)
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    monkeypatch.setattr(publish, "KEPT", tmp_path / "kept.json")
    for name in ("README", "TORCH_PAGE"):
        (tmp_path / name).write_text(f"{publish.BEGIN}\n{publish.END}\n")
    return tmp_path


def test_report_writes_the_readme_and_the_page_of_benchmarks_and_stores_the_results(pages: Path) -> None:
    for name in ("README", "TORCH_PAGE"):
        (pages / name).write_text(f"before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n")
    assert command.main(["report", *files(pages, document())]) == 0
    text = (pages / "README").read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "According to this ratio, fusedstep is faster." in text
    assert "| task (float32 unless stated) | fusedstep |" in text
    text = (pages / "PAGE").read_text()
    assert "| Adam, one tensor of 50M | **1.00 ms** | 1.00 [0.98, 1.02] | 2.00 [1.96, 2.04] faster |" in text
    compared = "Only one row for torch has a ratio. According to this ratio, fusedstep is faster."
    assert f"{page.SHORT}\n\n- {compared} torch takes 2.00" in text
    assert "| numba | not installed: numba |" in text
    assert "## Libraries without a figure\n\n- numba: not installed: numba\n" in text
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
    assert "0.json must be measured on a quiet machine; got: other processes took 1.30 CPUs; the cores differ." in error
    assert {file.name: file.read_text() for file in pages.iterdir() if file.name != "0.json"} == before


def test_results_without_the_state_of_the_machine_are_refused(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = document()
    del old["machine"]["state"]
    with pytest.raises(SystemExit, match="2"):
        command.main(["report", *files(pages, old)])
    assert "got: a file without the state of the machine" in capsys.readouterr().err.splitlines()[-1]


def test_results_of_a_disturbed_machine_can_be_published_with_a_note(pages: Path) -> None:
    assert command.main(["report", "--disturbed", *files(pages, disturbed("other processes took 1.30 CPUs"))]) == 0
    for name in ("README", "PAGE"):
        assert "The machine was disturbed: other processes took 1.30 CPUs." in (pages / name).read_text()


def test_a_case_that_other_processes_disturbed_is_published_with_a_note(pages: Path) -> None:
    results = document()
    # other processes used 0.4 CPUs, and other virtual machines used 0.02 CPUs
    results["cases"][0]["load"] = {"seconds": 2.0, "others": 0.4, "stolen": 0.02, "disturbed": True}
    assert command.main(["report", *files(pages, results)]) == 0
    note = "yardstick: `roofline`; other processes and virtual machines used 42% of one CPU during the case"
    assert note in (pages / "PAGE").read_text()


def test_time_of_a_compilation_is_published(pages: Path) -> None:
    results = document()
    results["cases"][0]["lines"].append(line("torch.compile", 3.0, ready_s=31.5))
    assert command.main(["report", *files(pages, results)]) == 0
    assert "| torch.compile, ready after 31.5 s | 3.00 ms |" in (pages / "PAGE").read_text()


def test_table_has_separate_rows_for_outputs_in_given_memory_and_in_new_memory() -> None:
    mine = [line(f"fusedstep v4, {kind}", 1.0, mine=True, seconds=s) for kind, s in (("out", 1e-3), ("new", 9e-3))]
    peer = [line(f"torch, {kind}", x, seconds=s) for kind, x, s in (("out", 5.0, 5e-3), ("new", 0.7, 6.3e-3))]
    lines = list(records.records({"cases": [document()["cases"][0] | {"lines": [*mine, *peer]}]}))
    rows = [tables.table_row(label, own, [("torch", "torch")]) for label, own in tables.rows_of_page(lines)]
    assert [(row[0], row[1], row[3]) for row in rows if row] == [
        ("Adam, one tensor of 50M, into given memory", "**1.00 ms**", "5.00 [4.90, 5.10] faster"),
        ("Adam, one tensor of 50M, into new memory", "**9.00 ms**", "0.70 [0.69, 0.71] slower"),
    ]


def test_the_five_rows_of_the_readme_are_also_rows_of_the_page_of_benchmarks() -> None:
    kept = list(records.records(records.read(publish.KEPT)))
    assert len(tables.SHORT) == 5
    assert set(tables.SHORT) <= {label for label, _ in tables.rows_of_page(kept)}


def test_page_about_torch_has_the_table_of_training_loops() -> None:
    """If there are no results of training loops, the page says so."""
    assert "no training in PyTorch" in tables.torch_block(document())
    lines = document() | {"cases": [case | {"suite": "torch", "name": "mlp/step"} for case in document()["cases"]]}
    text = tables.torch_block(lines)
    assert "| **1.00 ms** |" in text and "2.00 ms (2.00 [1.96, 2.04] faster)" in text and text.count("mlp/step") == 1
