"""Mistakes on the command line and in the data. Each gives one clear line, no traceback, and exit status 2."""

from __future__ import annotations

import csv
import io
import math
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusedstep.cli import main
from fusedstep.cli._folder import FILES

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")
pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def points(n: int = 60) -> list[list[Any]]:
    """Return rows. A row has the two coordinates of a point, and says on which side of a line the point is."""
    rng = np.random.default_rng(0)
    return [[round(a, 3), round(b, 3), "left" if a + b < 0 else "right"] for a, b in rng.standard_normal((n, 2))]


def with_target(target: Any) -> list[list[Any]]:
    """Return the points with another target, computed by `target` from the row number and the first coordinate."""
    return [[*row[:2], target(i, row[0])] for i, row in enumerate(points())]


def write_csv(rows: list[list[Any]]) -> None:
    """Write a file with a header and the rows."""
    with open("t.csv", "w", newline="") as file:
        csv.writer(file).writerows([("u", "v", "side"), *rows])


CSV = ["--data", "t.csv", "--target", "side"]


def broken(line: int, column: int, value: Any) -> list[list[Any]]:
    """Return the points with another value in one cell. Line 1 is the header."""
    rows = points()
    rows[line - 2][column] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (points(), ["--data", "none.csv", "--target", "side"], "--data: no such file: none.csv"),
        (points(), ["--data", "none"], "--data must be digits, breast_cancer, wine, diabetes, iris, or a file (.csv"),
        (points(), ["--data", "t.csv"], "--target is needed with t.csv; its columns are u, v, side"),
        (points(), [*CSV[:3], "sied"], "--target: t.csv has no column 'sied'; its columns are u, v, side"),
        (points(), [*CSV, "--drop", "w"], "--drop: t.csv has no column 'w'"),
        (
            points(),
            [*CSV, "--drop", "u,v"],
            "t.csv: at least one column besides the target 'side' must be an input; got none",
        ),
        (
            broken(9, 0, "-inf"),
            CSV,
            "t.csv: cannot use this column: 'u' (-inf in line 9); leave it out with --drop u\n",
        ),
        (
            [[math.inf, "inf", row[2]] for row in points()],
            CSV,
            "cannot use these columns: 'u' (inf in line 2), 'v' (inf in line 2); leave them out with --drop u,v\n",
        ),
        (with_target(lambda i, u: ""), CSV, "t.csv: needs at least 20 rows of data; got 0"),
        (points(), [*CSV, "--drop", "side"], "--drop must name input columns; 'side' is the target"),
        (points(), [*CSV, "--numeric", "w"], "--numeric: t.csv has no column 'w'"),
        (
            points(),
            [*CSV, "--numeric", "u", "--categorical", "u"],
            "must be named by --categorical or by --numeric, not by both",
        ),
        ([*points(4), [1, 2], *points()], CSV, "t.csv, line 6: must have 3 cells, as the first line has; got 2"),
        (with_target(lambda i, u: "left"), CSV, "the target 'side' must have at least two classes; got only 'left'"),
        (
            with_target(lambda i, u: f"class {i % 40}"),
            CSV,
            "the target 'side' must have at least 3 rows of each class; got 1 of class 'class 20'",
        ),
        (points(19), CSV, "t.csv: needs at least 20 rows of data; got 19"),
        ([], CSV, "t.csv: must have a line of column names and at least one line of data; got 1 lines"),
        (
            points(),
            [*CSV, "--task", "regression"],
            "line 2, column 'side': a regression needs a number as target; got 'left'",
        ),
        (with_target(lambda i, u: u), [*CSV, "--task", "classification"], "is the task a regression (--task"),
        (
            with_target(lambda i, u: "oops" if i == 7 else u),
            CSV,
            "line 9, column 'side': needs a finite number; got 'oops'",
        ),
        (with_target(lambda i, u: 1.5), CSV, "the target 'side' must vary"),
        (
            points(),
            ["--target", "side"],
            "--target, --drop, --categorical, --numeric are for tables with named columns; --data is digits",
        ),
        (points(), [*CSV, "--optimizer", "adaw"], "--optimizer: must be one of"),
        (points(), [*CSV, "--optimizer", "adaw"], "did you mean AdamW?"),
        (points(), [*CSV, "--lr", "0"], "--lr: must be a finite number > 0; got '0'"),
        (points(), [*CSV, "--lr", "fast"], "--lr: must be a finite number > 0; got 'fast'"),
        (points(), [*CSV, "--schedule", "cosin"], "did you mean cosine?"),
        (points(), [*CSV, "--epochs", "0"], "--epochs: must be an integer >= 1; got '0'"),
        (points(), [*CSV, "--batch-size", "1.5"], "--batch-size: must be an integer >= 1; got '1.5'"),
        (points(), [*CSV, "--hidden", "64,x"], "--hidden: must be an integer >= 1 and <= 65536; got 'x'"),
        (
            points(),
            [*CSV, "--activation", "gelu"],
            "--activation: must be one of hard_tanh, relu, sigmoid, tanh; got 'gelu'",
        ),
        (points(), [*CSV, "--ema", "1.5"], "--ema: must be a finite number >= 0 and <= 1; got '1.5'"),
        (points(), [*CSV, "--clip-norm", "-1"], "--clip-norm: must be a finite number > 0; got '-1'"),
        (points(), [*CSV, "--dtype", "int8"], "--dtype: must be one of float32, float64; got 'int8'"),
        (points(), [*CSV, "--seed", "-1"], "--seed: must be an integer >= 0; got '-1'"),
        (points(), [*CSV, "--set", "momentum"], "--set: must be name=value; got 'momentum'"),
        (
            points(),
            [*CSV, "--set", "momentun=0.9"],
            "--set: the argument of AdamW must be one of "
            "betas, eps, amsgrad, eps_inside, eps_hat, maximize, num_threads, "
            "state_dtype, rounding, master_weights, seed; got 'momentun'\n",
        ),
        (
            points(),
            [*CSV, "--optimizer", "SGD", "--set", "momentum=2"],
            "momentum must be at least 0 and below 1; got 2",
        ),
        (points(), [*CSV, "--out", "t.csv"], "--out: cannot make the directory t.csv"),
        (points(), [*CSV, "--out", "a\0b"], "--out: cannot make the directory a\0b: embedded null byte"),
        (points(), [*CSV, "--threads", "70000"], "--threads: must be an integer >= 1 and <= 65536; got '70000'"),
        (points(), [*CSV, "--dropout", "0.5", "--mc-samples", "9" * 30], "--mc-samples: must be an integer >= 2"),
        (points(), [*CSV, "--hidden", "65536,65536,65536,65536"], "not enough memory: Unable to allocate"),
        (broken(9, 1, "1e308"), CSV, "t.csv, column 'v': the numbers are too large to be scaled"),
        (
            with_target(lambda i, u: f"{u / 2}e308"),
            CSV,
            "t.csv: the target 'side' is too large to be scaled",
        ),
        (
            points(),
            [*CSV, "--state-dtype", "int4"],
            "--state-dtype: must be one of float32, bfloat16, uint8; got 'int4'",
        ),
        (
            points(),
            [*CSV, "--state-dtype", "uint8", "--dtype", "float64"],
            "--optimizer AdamW: AdamW: groups[0]: state_dtype must be None for float64 parameters",
        ),
        (
            points(),
            [*CSV, "--state-dtype", "uint8", "--optimizer", "LAMB"],
            'state_dtype must be "float32" or None, because the update of an element depends on other elements; got '
            "'uint8'",
        ),
        (points(), [*CSV, "--colour", "red"], "unrecognized arguments: --colour red"),
    ],
)
def test_a_mistake_gives_one_clear_line_and_status_2(
    rows: list[list[Any]], options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(rows)
    try:
        status = main(["train", "--epochs", "1", *options])
    except SystemExit as stop:  # argparse raises it
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    assert status == 2
    assert message in captured.err and captured.err.count("\n") == 1 and captured.err.startswith("fusedstep")
    assert captured.out == "" and not Path("fusedstep-out/model.safetensors").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.ones((30, 2))}, "x.npz: must hold the arrays X and y; got X"),
        ({"X": np.ones((30, 2)), "y": np.arange(29)}, "y must hold 30 numbers or texts, one per row of X"),
        ({"X": np.ones(30), "y": np.arange(30)}, "X must be numbers with one row per example; got float64 (30,)"),
        ({"X": np.full((30, 2), np.nan), "y": np.arange(30)}, "X must be finite; got nan in row 0, column 0"),
        ({"X": np.ones((30, 2)), "y": np.full(30, np.inf)}, "y must be finite; got inf in row 0"),
        ({"X": np.array([[1, "a"]] * 30, dtype=object), "y": np.arange(30)}, "X must be a complete array of"),
        ({"X": np.ones((30, 2)), "y": np.array([b"\xff"] * 30)}, "y must be numbers or texts; got bytes that are not"),
        ({"X": np.full((30, 2), 1e308, np.longdouble) * 10, "y": np.arange(30)}, "X must be finite; got inf in row 0"),
        (
            {"X": np.ones((30, 2), complex), "y": np.arange(30)},
            "X must be numbers with one row per example; got complex",
        ),
    ],
)
def test_npz_file_with_wrong_arrays_gives_one_clear_line(
    arrays: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("x.npz", **arrays)
    assert main(["train", "--data", "x.npz"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npz", b"hello", "x.npz: is not an .npz archive"),
        ("x.csv", b"\x89PNG\r\n\x1a\n\0\0", "x.csv: is not a text file in UTF-8, UTF-16 or latin-1"),
        ("x.csv.gz", b"a,b\n1,2\n", "x.csv.gz: cannot be unpacked as gz"),
        ("x.parquet", b"PAR1", "x.parquet: cannot be read as parquet"),
        ("x.csv", b"", "x.csv: must have a line of column names"),
        ("x.csv", b"1,2,3\n4,5,6\n", "x.csv: the first line must be names of columns; got only numbers"),
        ("x.csv", b"a,a,y\n4,5,6\n", "x.csv: column names must differ; 'a' comes twice"),
    ],
)
def test_a_file_with_wrong_content_gives_one_clear_line(
    name: str, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_bytes(content)
    assert main(["train", "--data", name, *(["--target", "y"] if not name.endswith("npz") else [])]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1


def test_train_command_without_a_required_package_prints_only_an_error_with_the_pip_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module, package in [("sklearn.datasets", "scikit-learn"), ("matplotlib.figure", "matplotlib")]:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            assert main(["train"]) == 2
        captured = capsys.readouterr()
        assert captured.err == f"fusedstep train: the package {package} is missing: pip install 'fusedstep[train]'\n"
        assert captured.out == ""


def test_error_names_the_extra_if_the_package_for_a_state_dtype_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    for words in (["--state-dtype", "bfloat16"], ["--set", "state_dtype=bfloat16"]):
        assert main(["train", "--data", "iris", "--epochs", "1", *words]) == 2
        assert capsys.readouterr().err == (
            "fusedstep train: state_dtype=\"bfloat16\" needs the package ml_dtypes: pip install 'fusedstep[narrow]'\n"
        )


def array_file(shape: tuple[int, ...], data: bytes) -> bytes:
    """Return an .npy file whose header has this shape, although the data may have another size."""
    file = io.BytesIO()
    np.lib.format.write_array_header_2_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + data


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"hello",
        array_file((40, 10**6), b"\0" * 64),
        array_file((10**12, 10**4), b"\0" * 64),
        array_file((2**62, 2**62), b"\0" * 64),
        array_file((-40, 3), b"\0" * 64),
        b"\x93NUMPY\x02\x00" + (60_000).to_bytes(4, "little") + b"(" * 60_000,
        b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little") + b"{",
    ],
    ids=["empty", "text", "little data", "huge shape", "overflow", "negative shape", "nested", "header of 2 GiB"],
)
def test_npz_file_with_a_damaged_array_gives_one_clear_line(member: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile("x.npz", "w") as file:
        file.writestr("X.npy", member)
        file.writestr("y.npy", array_file((40,), b"\0" * 320))
    assert main(["train", "--data", "x.npz"]) == 2
    captured = capsys.readouterr()
    assert "X must be a complete array of numbers; NumPy cannot read it" in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipe_as_data_is_refused_without_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("x.csv")
    assert main(["train", "--data", "x.csv", "--target", "y"]) == 2
    assert capsys.readouterr().err == "fusedstep train: --data must be a file; got the device or pipe x.csv\n"


def test_classes_that_are_whole_numbers_above_2_to_the_53_stay_floats() -> None:
    """Numbers are read as floats. Whole numbers up to 2^53 then become int. Larger ones could overflow an int64."""
    from fusedstep.cli._data import load_table, prepare

    write_csv(with_target(lambda i, u: f"{1 + i % 2}{'0' * 30}"))
    problem = prepare(load_table("t.csv", "side"), "classification", 0)
    assert problem.classes == [1e30, 2e30]


@pytest.mark.parametrize("command", [["train", "--epochs", "1"], ["compare", "--epochs", "1"]], ids=lambda c: c[0])
@pytest.mark.parametrize("file", FILES)
def test_a_folder_at_the_path_of_a_result_is_refused_before_the_training(
    file: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(points())
    (Path("out") / file).mkdir(parents=True)
    assert main([*command, *CSV, "--out", "out"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert f"--out: {Path('out', file)} must not be a directory" in captured.err
