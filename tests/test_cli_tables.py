"""The commands `train`, `evaluate` and `predict` with realistic tables."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusedstep import nn
from fusedstep.cli import main
from tables import customers, flats, rows_of

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")
pytest.importorskip("rich")
pytest.importorskip("matplotlib")

MODEL = "fusedstep-out/model.safetensors"
Out = Callable[[], str]


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no pictures, because drawing is slow."""
    monkeypatch.setattr("fusedstep.cli._finish.Finish._draw", lambda *arguments: None)


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Out:
    """Return a function whose result is the text that was printed since the last call of the function."""
    return lambda: capsys.readouterr().out


def test_commands_accept_a_table_with_every_kind_of_column(out: Out) -> None:
    customers().to_csv("churn.csv", index=False)
    assert main(["train", "--data", "churn.csv", "--target", "left"]) == 0
    said = out()
    assert "column 'customer_id' is left out: identifier" in said
    assert "class 'paused' has only 1 row" in said
    assert re.search(r"age +number +scaled; missing: the median \d+", said)
    assert re.search(r"since +date +days, month, weekday", said)
    assert re.search(r"trivial baseline: accuracy 0\.\d+, balanced 0\.5", said)
    assert main(["evaluate", MODEL, "churn.csv"]) == 0
    found = re.search(r"accuracy: (0\.\d+) on 240 rows", out())
    assert found and float(found[1]) > 0.8
    assert main(["predict", MODEL, "churn.csv"]) == 0
    rows = rows_of("churn-predictions.csv")
    assert list(rows[0]) == ["line", "prediction", "p(no)", "p(paused)", "p(yes)"] and len(rows) == 240
    assert [row["line"] for row in rows[:2]] == ["2", "3"]  # line 1 is the header


def test_a_latin1_table_with_decimal_commas_is_read(out: Out) -> None:
    """The test also checks that a prediction is in the middle of its interval."""
    Path("flats.csv").write_bytes(flats().encode("latin-1"))
    assert main(["train", "--data", "flats.csv", "--target", "preis"]) == 0
    assert main(["evaluate", MODEL, "flats.csv", "--out", "scores"]) == 0
    found = re.search(r"R\^2: (0\.\d+) on 160 rows\nRMSE: ([\d.]+) \(units of preis\)\nMAE", out())
    assert found and float(found[1]) > 0.9 and 2000 < float(found[2]) < 20000
    scores = json.loads(Path("scores/metrics.json").read_text())["test"]
    assert scores["interval"]["covered"] > 0.75 and scores["rmse"] < scores["baseline"]["rmse"] / 3
    assert main(["predict", MODEL, "flats.csv", "--out", "p.csv"]) == 0
    rows = rows_of("p.csv")
    assert list(rows[0]) == ["line", "prediction", "low_90", "high_90"]
    low, middle, high = (float(rows[0][name]) for name in ("low_90", "prediction", "high_90"))
    assert middle - low == pytest.approx(high - middle, rel=1e-3) and high > low


def test_medians_and_categories_are_those_of_the_training_rows() -> None:
    """Test and validation rows have no effect.

    The category `special` occurs in one row. If this row is a training row, the attribute `other` of the column `plan`
    is true. Then one input of the network stands for all rare categories of this column.
    """
    from fusedstep.cli._data import load_table, prepare

    def problem(row: int | None, age: float = 50.0) -> Any:
        """Row 0 has no age. If `row` is given, this row gets `age` and a new plan, and the other ages become 30."""
        frame = customers().assign(age=lambda f: f["age"].fillna(40.0))
        frame.loc[0, "age"] = np.nan
        if row is not None:
            frame.loc[frame.index != 0, "age"] = 30.0
            frame.loc[row, ["age", "plan"]] = [age, "special"]
        frame.to_csv("t.csv", index=False)
        return prepare(load_table("t.csv", "left"), "auto", 0)

    plain = problem(None)
    for row in (int(plain.test[1]), int(plain.validation[1])):
        columns = {column.name: column for column in problem(row, 1e6).columns.columns}
        assert columns["age"].fill == 30.0 and "special" not in columns["plan"].values
        assert not columns["plan"].other
    seen = {column.name: column for column in problem(int(plain.train[1]), 1e6).columns.columns}
    assert seen["plan"].other


@pytest.mark.usefixtures("no_picture")
def test_the_order_of_columns_does_not_matter() -> None:
    """`predict` and the loaded model find columns by name. An error names the missing columns."""
    frame = customers()
    frame.to_csv("t.csv", index=False)
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "3"]) == 0
    frame[frame.columns[::-1]].drop(columns=["left", "customer_id"]).to_csv("other.csv", index=False)
    assert main(["predict", MODEL, "t.csv", "--out", "a.csv"]) == 0
    assert main(["predict", MODEL, "other.csv", "--out", "b.csv"]) == 0
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()
    model = nn.load(MODEL)
    inputs = frame.drop(columns="left")
    assert model.predict(inputs).tolist() == model.predict(inputs[inputs.columns[::-1]]).tolist()
    assert model.predict(inputs).tolist() == [row["prediction"] for row in rows_of("a.csv")]
    with pytest.raises(ValueError, match="it lacks age, calls; it also has wages"):
        model.predict(inputs.drop(columns=["age", "calls"]).assign(wages=1))


@pytest.mark.usefixtures("no_picture")
def test_missing_and_extra_columns_are_named(out: Out, capsys: pytest.CaptureFixture[str]) -> None:
    frame = customers()
    frame.to_csv("t.csv", index=False)
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "1"]) == 0
    frame.drop(columns=["age", "plan"]).to_csv("fewer.csv", index=False)
    frame.drop(columns="left").assign(wages=1, shoes=2).to_csv("more.csv", index=False)
    out()
    assert main(["predict", MODEL, "fewer.csv"]) == 2
    assert "fewer.csv: must have the columns age, plan, since" in capsys.readouterr().err
    assert main(["predict", MODEL, "more.csv"]) == 0
    assert "columns that the training data did not have are left out: wages, shoes" in out()
    assert main(["evaluate", MODEL, "more.csv"]) == 2
    assert "more.csv: must have the target column 'left'" in capsys.readouterr().err


@pytest.mark.usefixtures("no_picture")
def test_options_determine_the_kinds_of_columns(out: Out) -> None:
    """The options are `--drop`, `--categorical` and `--numeric`.

    The command prints how it turns each column into numbers. These numbers are called the outputs of the column. The
    column `code` has one output for each of its three categories.
    """
    frame = customers().assign(code=np.arange(240) % 3, mixed=["5", "many", "7", "x"] * 60)
    frame.to_csv("t.csv", index=False)
    options = ["--drop", "age,plan", "--categorical", "code", "--numeric", "mixed", "--epochs", "1"]
    assert main(["train", "--data", "t.csv", "--target", "left", *options]) == 0
    said = out()
    assert re.search(r"age +left out +as asked", said) and re.search(r"code +category +an output for each of: ", said)
    assert re.search(r"mixed +number .*120 cells are no numbers \('many', 'x'\) and are treated as missing", said)


@pytest.mark.usefixtures("no_picture")
def test_control_characters_of_a_table_do_not_reach_the_terminal(out: Out) -> None:
    customers().assign(plan=["\x1b[2J", "a\nb"] * 120).to_csv("t.csv", index=False)
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "1"]) == 0
    said = out()
    assert "\x1b" not in said and re.search(r"plan +category +1 for (a b| \[2J), else 0", said)


@pytest.mark.usefixtures("no_picture")
def test_rows_without_a_target_are_ignored_and_reported(out: Out) -> None:
    frame = customers()
    frame.loc[[3, 8], "left"] = ""
    frame.to_csv("t.csv", index=False)
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "1"]) == 0
    assert "rows without a value of 'left' are left out: 2" in out()
    assert main(["evaluate", MODEL, "t.csv"]) == 0
    assert "accuracy: 0" in out()  # matches every accuracy below 1


@pytest.mark.usefixtures("no_picture")
def test_rows_of_unknown_classes_are_ignored_and_reported(out: Out, capsys: pytest.CaptureFixture[str]) -> None:
    """If all rows have unknown classes, the table is refused."""
    frame = customers()
    frame.to_csv("t.csv", index=False)
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "1"]) == 0
    frame.loc[:4, "left"] = "never"
    frame.to_csv("new.csv", index=False)
    assert main(["evaluate", MODEL, "new.csv"]) == 0
    assert "rows of classes that the training data did not have are left out: 5 ('never')" in out()
    frame.assign(left="never").to_csv("new.csv", index=False)
    assert main(["evaluate", MODEL, "new.csv"]) == 2
    assert "the target must be one of the classes no, paused, yes; got 'never'" in capsys.readouterr().err


def test_the_command_train_writes_all_its_files(out: Out) -> None:
    """The files and the printed text contain the same numbers."""
    frame = customers()
    frame.to_csv("t.csv", index=False)
    words = ["train", "--data", "t.csv", "--target", "left", "--epochs", "4", "--hidden", "8"]
    assert main(words) == 0
    folder = Path("fusedstep-out")
    files = {"model.safetensors", "curves.png", "metrics.json", "history.csv", "predictions.csv", "report.html",
             "confusion.png", "checkpoint.safetensors", "checkpoint-optimizer.safetensors"}  # fmt: skip
    assert {path.name for path in folder.iterdir()} == files
    about = json.loads((folder / "metrics.json").read_text())
    said = out()
    test = about["test"]
    assert f"test accuracy: {test['accuracy']:.4f} on {test['rows']} rows held out" in said
    rows = rows_of(folder / "predictions.csv")
    assert test["accuracy"] == np.mean([row["target"] == row["prediction"] for row in rows])
    confusion = np.zeros((3, 3), int)
    places = {c["class"]: i for i, c in enumerate(test["classes"])}
    for row in rows:
        confusion[places[row["target"]], places[row["prediction"]]] += 1
    assert test["confusion"] == confusion.tolist()
    recalls = [confusion[i, i] / confusion[i].sum() for i in range(3) if confusion[i].sum()]
    assert test["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    history = rows_of(folder / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2", "3", "4"]
    assert (
        float(history[about["best_epoch"]["number"] - 1]["validation_loss"]) == about["best_epoch"]["validation_loss"]
    )
    assert about["command"] == "fusedstep " + " ".join(words)


class Reader(HTMLParser):
    """A parser that collects the links of a page and checks that the tags of the page are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_page_that_loads_no_other_file() -> None:
    """The page contains two pictures. Special characters in the name of a column are escaped."""
    customers().rename(columns={"plan": "<plan> & co"}).to_csv("t.csv", index=False)
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "2"]) == 0
    text = Path("fusedstep-out/report.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.open == [] and len(reader.sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)
    assert "http" not in text and "<script" not in text
    for part in (
        "&lt;plan&gt; &amp; co",
        "identifier",
        "trivial baseline",
        "train --data t.csv --target left --epochs 2",
    ):
        assert part in text


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_unpacks_to_very_much_is_refused(
    method: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The array X would unpack to more than BIG bytes (here 1 MiB) and to more than 100 times its packed size."""
    monkeypatch.setattr("fusedstep.cli._tables.BIG", 1 << 20)
    monkeypatch.setattr("numpy.lib.format.read_array", None)  # so unpacking an array would raise an error
    with zipfile.ZipFile("bomb.npz", "w", method) as archive:
        with archive.open("X.npy", "w") as member:
            np.lib.format.write_array_header_2_0(member, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 1)})
            member.write(bytes(8 * 10**6))
        with archive.open("y.npy", "w") as member:
            np.lib.format.write_array(member, np.zeros(3))
    assert Path("bomb.npz").stat().st_size < 10**4
    assert main(["train", "--data", "bomb.npz"]) == 2
    assert re.search(r"bomb.npz: X would unpack from [\d.]+ MB to 0.008 GB", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "none", "t.csv"], "No such file or directory: none"),
        (["predict", "t.csv", "t.csv"], "is not a safetensors file"),
        (
            ["predict", "alone", "t.csv"],
            "alone: MODEL must hold a network and the names and scaling of its inputs and outputs; got only a network",
        ),
        (["predict", "iris", "none.csv"], "DATA: no such file: none.csv"),
        (["predict", "iris", "t.csv", "--out", "no/where.csv"], "must have the columns sepal length (cm)"),
        (["evaluate", "iris", "wine"], "wine: X must have 4 columns, as in training; got 13"),
    ],
)
@pytest.mark.usefixtures("no_picture")
def test_mistakes_give_one_line_and_status_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In `words`, "iris" stands for the file of a model that was trained with the data set iris."""
    Path("t.csv").write_text("a,b\n1,2\n")
    nn.save("alone", nn.Sequential(nn.Linear(2, 1), rng=0))
    assert main(["train", "--data", "iris", "--epochs", "1", "--quiet", "--out", "i"]) == 0
    assert main([word if word != "iris" else "i/model.safetensors" for word in words]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
