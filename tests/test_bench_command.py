"""The command ``fusedstep bench``: its output and its files, with and without the optional packages."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fusedstep._bench import run
from fusedstep._bench.optim import peers, suite
from fusedstep.cli import main

HERE = (
    peers.Peer(peers.OURS, peers.Ours),
    peers.Peer(peers.ROOFLINE, peers.Roofline),
    peers.Peer("numpy", peers.NumPy),
)
ABSENT = peers.Peer("other", peers.NumPy, needs=("a_package_that_nobody_has",))
CASE = ["bench", "--only", "adam/mlp", "--minutes", "0.002"]


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(suite, "PEERS", (*HERE, ABSENT))
    monkeypatch.setattr(run, "LOOK_S", 0.0)
    monkeypatch.setattr(run, "missing", lambda modules: ["torch"])  # the import of torch takes a second


def results(folder: str = "fusedstep-bench") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "results.json").read_text())
    return found


def test_the_command_measures_and_writes_results_and_a_picture(capsys: pytest.CaptureFixture[str]) -> None:
    """The results of an earlier run are moved to a subfolder."""
    pytest.importorskip("matplotlib")
    Path("fusedstep-bench").mkdir()
    Path("fusedstep-bench/results.json").write_text("those of an earlier run")
    assert main(CASE) == 0
    out = capsys.readouterr().out
    assert "adam/mlp: Adam, 6 tensors" in out and "fusedstep is" in out and "Targets" not in out
    assert "Only one row for other libraries has a ratio. According to this ratio, fusedstep is " in out
    assert "Not compared, because they are not installed: a_package_that_nobody_has." in out
    assert out.endswith("written: fusedstep-bench/results.json\nwritten: fusedstep-bench/speedup.png\n")
    assert Path("fusedstep-bench/speedup.png").read_bytes().startswith(b"\x89PNG")
    assert Path("fusedstep-bench/run-1/results.json").read_text() == "those of an earlier run"
    document = results()
    (case,) = document["cases"]
    assert [line["name"] for line in case["lines"]] == ["fusedstep", "roofline", "numpy", "other"]
    assert set(document["machine"]["state"]) == {"distance", "others", "stolen", "disturbed"}


def test_without_optional_packages_the_table_is_plain_and_there_is_no_picture(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("fusedstep._bench.report.find_spec", lambda name: None)
    assert main([*CASE, "--out", "here"]) == 0
    out = capsys.readouterr().out
    assert "┃" not in out and "\nimplementation " in out
    assert out.endswith("no picture: the package Matplotlib is missing: pip install 'fusedstep[bench]'\n")
    assert results("here")["cases"] and not Path("here/speedup.png").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--only", "nothing"], "--only must match a case, such as asgd/10M; got 'nothing'"),
        (["--threads", "4000"], "--threads must be between 1 and"),
        (["--minutes", "0"], "argument --minutes: must be a finite number > 0; got '0'"),
    ],
)
def test_wrong_argument_gives_a_message_of_one_line_and_status_2(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["bench", *words])
    except SystemExit as exit_:
        status = int(exit_.code or 0)
    err = capsys.readouterr().err
    assert status == 2 and err.count("\n") == 1 and err.startswith("fusedstep bench: ") and text in err
    assert not Path("fusedstep-bench/results.json").exists()
