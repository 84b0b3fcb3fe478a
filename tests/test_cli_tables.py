"""Tables as people have them on the command line: trained, evaluated and predicted with one command each."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusedstep import nn
from fusedstep.cli import main

pandas = pytest.importorskip("pandas")
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
    """Leave out what takes most of the time."""
    monkeypatch.setattr("fusedstep.cli._finish.Finish._draw", lambda *arguments: None)


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Out:
    """Return what has been printed."""
    return lambda: capsys.readouterr().out


def rows_of(path: str | Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def customers(n: int = 240) -> Any:
    """Make a table with all that real ones have; customers leave if they are young and call often."""
    rng = np.random.default_rng(0)
    age, calls = rng.integers(18, 80, n).astype(float), rng.integers(0, 10, n)
    leaves = calls * 5 - age + rng.normal(0, 3, n) > -20
    frame = pandas.DataFrame(
        {
            "customer_id": [f"C{i:05d}" for i in range(n)],
            "age": age,
            "plan": rng.choice(["basic", "plus"], n),
            "since": pandas.date_range("2015-01-01", periods=n, freq="9D").strftime("%Y-%m-%d"),
            "auto_pay": rng.random(n) < 0.5,
            "calls": calls.astype(str),
            "left": np.where(leaves, "yes", "no"),
        }
    )
    frame.loc[rng.random(n) < 0.1, "age"] = np.nan
    frame.loc[rng.random(n) < 0.1, "calls"] = "NA"
    frame.loc[11, "left"] = "paused"
    return frame


def flats(n: int = 160) -> str:
    """Make flats in a German spreadsheet: latin-1, semicolons, decimal commas, missing years."""
    rng = np.random.default_rng(1)
    size = rng.uniform(30, 140, n).round(1)
    price = (1500 * size + 5000 * rng.normal(size=n)).round(2)
    lines = ["straße;fläche;balkon;baujahr;preis"]
    for i in range(n):
        year = "" if i % 2 else str(1900 + i % 100)
        lines.append(f"Weg {i % 9};{size[i]};{('ja', 'nein')[i % 2]};{year};{price[i]:.2f}".replace(".", ","))
    return "\n".join(lines)


def test_a_table_with_all_that_tables_have(out: Out) -> None:
    customers().to_csv("churn.csv", index=False)
    assert main(["train", "--data", "churn.csv", "--target", "left"]) == 0
    said = out()
    assert "column 'customer_id' is left out: identifier" in said
    assert "class 'paused' has 1 row only" in said
    assert re.search(r"age +number +scaled; missing: the median \d+", said)
    assert re.search(r"since +date +days, month, weekday", said)
    assert re.search(r"trivial baseline: accuracy 0\.\d+, balanced 0\.5", said)
    assert main(["evaluate", MODEL, "churn.csv"]) == 0
    found = re.search(r"accuracy: (0\.\d+) on 240 rows", out())
    assert found and float(found[1]) > 0.8
    assert main(["predict", MODEL, "churn.csv"]) == 0
    rows = rows_of("churn-predictions.csv")
    assert list(rows[0]) == ["line", "prediction", "p(no)", "p(paused)", "p(yes)"] and len(rows) == 240
    assert [row["line"] for row in rows[:2]] == ["2", "3"]


def test_a_latin1_table_with_decimal_commas(out: Out) -> None:
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


@pytest.mark.usefixtures("no_picture")
def test_the_order_of_columns_does_not_matter() -> None:
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
    with pytest.raises(ValueError, match="it lacks age, calls and it has also wages"):
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
    assert "fewer.csv: the model needs the columns age, plan, since" in capsys.readouterr().err
    assert main(["predict", MODEL, "more.csv"]) == 0
    assert "columns that the model does not know are left out: wages, shoes" in out()
    assert main(["evaluate", MODEL, "more.csv"]) == 2
    assert "more.csv: must have the target 'left'" in capsys.readouterr().err


@pytest.mark.usefixtures("no_picture")
def test_drop_categorical_and_numeric(out: Out) -> None:
    frame = customers().assign(code=np.arange(240) % 3, mixed=["5", "many", "7", "x"] * 60)
    frame.to_csv("t.csv", index=False)
    options = ["--drop", "age,plan", "--categorical", "code", "--numeric", "mixed", "--epochs", "1"]
    assert main(["train", "--data", "t.csv", "--target", "left", *options]) == 0
    said = out()
    assert re.search(r"age +left out +as asked", said) and re.search(r"code +category +an output for each of: ", said)
    assert re.search(r"mixed +number .*120 cells that are no number \('many', 'x'\) taken for missing", said)


@pytest.mark.usefixtures("no_picture")
def test_a_table_cannot_write_on_the_terminal(out: Out) -> None:
    customers().assign(plan=["\x1b[2J", "a\nb"] * 120).to_csv("t.csv", index=False)
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "1"]) == 0
    said = out()
    assert "\x1b" not in said and re.search(r"plan +category +1 for (a b| \[2J), else 0", said)


@pytest.mark.usefixtures("no_picture")
def test_rows_without_a_target_are_left_out(out: Out) -> None:
    frame = customers()
    frame.loc[[3, 8], "left"] = ""
    frame.to_csv("t.csv", index=False)
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "1"]) == 0
    assert "2 rows without a value of 'left' left out" in out()
    assert main(["evaluate", MODEL, "t.csv"]) == 0
    assert "accuracy: 0" in out()


@pytest.mark.usefixtures("no_picture")
def test_classes_that_the_model_does_not_know(out: Out, capsys: pytest.CaptureFixture[str]) -> None:
    frame = customers()
    frame.to_csv("t.csv", index=False)
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "1"]) == 0
    frame.loc[:4, "left"] = "never"
    frame.to_csv("new.csv", index=False)
    assert main(["evaluate", MODEL, "new.csv"]) == 0
    assert "5 rows of classes that the model does not know left out: 'never'" in out()
    frame.assign(left="never").to_csv("new.csv", index=False)
    assert main(["evaluate", MODEL, "new.csv"]) == 2
    assert "the target must be of no, paused, yes; got 'never'" in capsys.readouterr().err


def test_what_a_run_leaves(out: Out) -> None:
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
    """Collect what a page refers to, and check that tags are closed."""

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


def test_the_report_is_one_page_without_network() -> None:
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


@pytest.mark.usefixtures("no_picture")
def test_files_of_two_runs_are_never_mixed(out: Out) -> None:
    customers().to_csv("t.csv", index=False)
    Path("flats.csv").write_bytes(flats().encode("latin-1"))
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "1"]) == 0
    first = {path.name: path.read_bytes() for path in Path("fusedstep-out").iterdir()}
    Path("fusedstep-out/notes.txt").write_text("mine")
    assert main(["train", "--data", "flats.csv", "--target", "preis", "--epochs", "1"]) == 0
    assert f"files of another run: moved to {Path('fusedstep-out/run-1')}" in out()
    assert {path.name: path.read_bytes() for path in Path("fusedstep-out/run-1").iterdir()} == first
    assert Path("fusedstep-out/notes.txt").exists()
    assert main(["compare", "--data", "iris", "--epochs", "1", "--optimizers", "sgd"]) == 0
    left = {path.name for path in Path("fusedstep-out").iterdir()}
    assert left == {"run-1", "run-2", "notes.txt", "compare.png", "compare.csv"}


@pytest.mark.usefixtures("no_picture")
def test_a_run_that_leaves_nothing_moves_nothing() -> None:
    assert main(["train", "--data", "iris", "--epochs", "1"]) == 0
    before = Path(MODEL).read_bytes()
    diverging = ["--optimizer", "SGD", "--lr", "1e30", "--schedule", "constant"]
    assert main(["train", "--data", "iris", *diverging]) == 1
    assert Path(MODEL).read_bytes() == before and not Path("fusedstep-out/run-1").exists()


@pytest.mark.usefixtures("no_picture")
@pytest.mark.parametrize(
    "options",
    [
        ["--optimizer", "adam", "--batch-norm", "--dropout", "0.2", "--ema", "0.9"],
        ["--optimizer", "sgd", "--set", "momentum=0.9", "--schedule", "plateau", "--warmup", "3"],
        ["--optimizer", "adagrad", "--dtype", "float64", "--patience", "4", "--lr", "0.2", "--schedule", "constant"],
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one(options: list[str], out: Out) -> None:
    wine = ["train", "--data", "wine", "--class-weight", "balanced", *options]
    if "constant" not in options and "plateau" not in options:
        wine += ["--schedule", "constant"]  # the shape of others follows from the number of epochs
    assert main([*wine, "--epochs", "9", "--out", "whole"]) == 0
    assert main([*wine, "--epochs", "5", "--out", "parts"]) == 0
    assert main(["train", "--resume", "--out", "parts", "--epochs", "9"]) == 0
    assert Path("whole/model.safetensors").read_bytes() == Path("parts/model.safetensors").read_bytes()
    assert Path("whole/history.csv").read_bytes() == Path("parts/history.csv").read_bytes()
    assert Path("parts/run-1/model.safetensors").exists()


@pytest.mark.usefixtures("no_picture")
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the middle of an epoch, and with a state that was written on the way."""
    words = ["train", "--data", "wine", "--epochs", "8", "--dropout", "0.1"]
    assert main([*words, "--out", "whole"]) == 0
    assert main(["train", "--data", "iris", "--epochs", "1", "--out", "parts"]) == 0  # another run was there
    asked = 0

    @contextlib.contextmanager
    def pressed_after_a_while() -> Iterator[Callable[[], bool]]:
        def pressed() -> bool:
            nonlocal asked
            asked += 1
            return asked > 18

        yield pressed

    with monkeypatch.context() as patch:
        patch.setattr("fusedstep.cli._train.interruptible", pressed_after_a_while)
        patch.setattr("fusedstep.cli._train.SAVE_SECONDS", 0.0)
        assert main([*words, "--out", "parts"]) == 130
    assert len(rows_of("parts/history.csv")) < 8 and Path("parts/run-1/model.safetensors").exists()
    assert main(["train", "--resume", "--out", "parts"]) == 0
    assert Path("whole/model.safetensors").read_bytes() == Path("parts/model.safetensors").read_bytes()


@pytest.mark.usefixtures("no_picture")
def test_a_run_that_is_killed_leaves_no_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["train", "--data", "iris", "--epochs", "1"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr("fusedstep.cli._train.SAVE_SECONDS", 0.0)
        patch.setattr("fusedstep.cli._train.Finish", None)  # the end is never reached
        with pytest.raises(TypeError):
            main(["train", "--data", "wine", "--epochs", "2"])
    left = {path.name for path in Path("fusedstep-out").iterdir()}
    assert left == {"run-1", "checkpoint.safetensors", "checkpoint-optimizer.safetensors"}
    assert main(["train", "--resume", "--epochs", "3"]) == 0


@pytest.mark.usefixtures("no_picture")
def test_what_cannot_be_resumed_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def complaint(*words: str) -> str:
        assert main(["train", "--resume", *words]) == 2
        return capsys.readouterr().err

    assert "--resume: there is no checkpoint.safetensors in nowhere" in complaint("--out", "nowhere")
    customers().to_csv("t.csv", index=False)
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "2"]) == 0
    assert "the run has done its 2 epochs; --epochs must be above that" in complaint()
    assert "does not fit these options" in complaint("--epochs", "4", "--hidden", "8")
    customers(200).to_csv("t.csv", index=False)
    assert "the data or its columns have changed since the run began" in complaint("--epochs", "4")
    Path("fusedstep-out/checkpoint.safetensors").write_bytes(b"hello")
    assert "is not the state of a run" in complaint()


@pytest.mark.usefixtures("no_picture")
def test_class_weights_bring_a_rare_class_back() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 2))
    y = np.where((x[:, 0] > 1.3) & (rng.random(600) < 0.5), "rare", "usual")
    np.savez("t.npz", X=x, y=y)
    recalls = []
    for weight in ("none", "balanced"):
        assert main(["train", "--data", "t.npz", "--class-weight", weight, "--epochs", "20", "--out", weight]) == 0
        scores = json.loads(Path(weight, "metrics.json").read_text())["test"]
        recalls.append(next(c["recall"] for c in scores["classes"] if c["class"] == "rare"))
    assert recalls[1] > recalls[0] + 0.3


@pytest.mark.usefixtures("no_picture")
def test_quiet_prints_nothing(out: Out) -> None:
    assert main(["train", "--data", "iris", "--epochs", "2", "--quiet"]) == 0
    np.savez("iris.npz", X=np.ones((3, 4)), y=["setosa"] * 3)
    assert main(["evaluate", MODEL, "iris.npz", "--quiet"]) == 0
    assert main(["predict", MODEL, "iris.npz", "--quiet"]) == 0
    assert main(["compare", "--data", "iris", "--epochs", "1", "--optimizers", "sgd", "--quiet"]) == 0
    assert out() == "" and Path("iris-predictions.csv").exists()


@pytest.mark.usefixtures("no_picture")
def test_the_rate_and_the_decay_are_told(out: Out) -> None:
    assert main(["train", "--data", "iris", "--epochs", "1", "--lr", "0.02", "--weight-decay", "0.1"]) == 0
    assert "AdamW, learning rate 0.02 (cosine schedule), weight decay 0.1 (decoupled)" in out()


def test_a_warm_up_longer_than_the_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("train", "compare"):
        assert main([command, "--data", "iris", "--epochs", "2", "--warmup", "8"]) == 2
        assert "--warmup must be below the 8 steps of the run; got 8" in capsys.readouterr().err


def test_compare_ranks_by_the_mean_over_seeds(out: Out) -> None:
    words = ["compare", "--data", "iris", "--epochs", "2", "--optimizers", "sgd,adam", "--seeds", "3", "--seed", "4"]
    assert main(words) == 0
    said = out()
    assert "mean over 3 seeds, +- its standard error" in said
    runs = rows_of("fusedstep-out/compare.csv")
    assert [run["seed"] for run in runs[:3]] == ["4", "5", "6"]
    losses = {n: [float(r["best_validation_loss"]) for r in runs if r["optimizer"] == n] for n in ("SGD", "Adam")}
    best, other = sorted(losses, key=lambda name: np.mean(losses[name]))
    assert said.index(f"\n{best} ") < said.index(f"\n{other} ")
    error = np.std(losses[best], ddof=1) / np.sqrt(3)
    assert f"{np.mean(losses[best]):.3g} +- {error:.2g}" in said


@pytest.mark.usefixtures("no_picture")
def test_dropout_masks_at_prediction(out: Out, capsys: pytest.CaptureFixture[str]) -> None:
    customers().to_csv("t.csv", index=False)
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "2", "--dropout", "0.3"]) == 0
    assert main(["predict", MODEL, "t.csv", "--mc-samples", "10"]) == 0
    header = list(rows_of("t-predictions.csv")[0])
    assert header[2] == "uncertainty (entropy of the mean probabilities over the masks, in nats)"
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "1"]) == 0
    assert main(["predict", MODEL, "t.csv", "--mc-samples", "10"]) == 2
    assert "--mc-samples needs a model with dropout" in capsys.readouterr().err


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_unpacks_to_very_much_is_refused(
    method: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fusedstep.cli._tables.BIG", 1 << 20)
    monkeypatch.setattr("numpy.lib.format.read_array", None)  # nothing may be unpacked
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
        (["predict", "alone", "t.csv"], "alone: is a network alone; MODEL must say what its inputs and outputs mean"),
        (["predict", "iris", "none.csv"], "--data: no such file: none.csv"),
        (["predict", "iris", "t.csv", "--out", "no/where.csv"], "the model needs the columns sepal length (cm)"),
        (["evaluate", "iris", "wine"], "wine: X must have 4 columns, as in training; got 13"),
    ],
)
@pytest.mark.usefixtures("no_picture")
def test_mistakes_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.csv").write_text("a,b\n1,2\n")
    nn.save("alone", nn.Sequential(nn.Linear(2, 1), rng=0))
    assert main(["train", "--data", "iris", "--epochs", "1", "--quiet", "--out", "i"]) == 0
    assert main([word if word != "iris" else "i/model.safetensors" for word in words]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
