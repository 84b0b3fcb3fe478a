"""The command line: the commands `train` and `compare`, their output and their files."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import nn
from fusedstep.cli import main
from fusedstep.cli._options import ACTIVATIONS, build_parser
from fusedstep.cli._setup import Settings
from fusedstep.cli._train import open_problem
from fusedstep.cli._training import Result, Trainer

pytest.importorskip("sklearn")
pytest.importorskip("safetensors")
pytest.importorskip("rich")
pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no pictures, because drawing is slow."""
    monkeypatch.setattr("fusedstep.cli._finish.Finish._draw", lambda *arguments: None)


def points(n: int = 60) -> list[list[Any]]:
    """Return rows. A row has the two coordinates of a point, and says on which side of a line the point is."""
    rng = np.random.default_rng(0)
    return [[round(a, 3), round(b, 3), "left" if a + b < 0 else "right"] for a, b in rng.standard_normal((n, 2))]


def write_csv(rows: list[list[Any]], header: tuple[str, ...] = ("u", "v", "side"), delimiter: str = ",") -> str:
    with open("t.csv", "w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return "t.csv"


def png_size(path: str) -> tuple[int, int]:
    data = Path(path).read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def test_the_saved_model_predicts_from_raw_features() -> None:
    """The model scales the features itself. The run also draws the learning curves."""
    from sklearn.datasets import load_digits

    assert main(["train", "--epochs", "15", "--out", "here"]) == 0
    X, y = load_digits(return_X_y=True)
    trained = nn.load("here/model.safetensors")
    assert np.mean(trained.predict(X) == y) > 0.98
    assert trained.classes == list(range(10)) and len(trained.feature_names) == 64
    assert png_size("here/curves.png") > (1000, 300)


class Silent:
    """A watcher that does nothing. The training calls `step` after each step, and `epoch` after each epoch."""

    def step(self, done: int, loss: float) -> None:
        pass

    def epoch(self, result: Result) -> None:
        pass


def accuracy(*options: str) -> float:
    """Train as the command `train` does, but write no files. Return the accuracy on the test rows."""
    args = build_parser().parse_args(["train", *options])
    return Trainer(open_problem(args), Settings.of(args)).run(Silent()).test_metric


@pytest.mark.parametrize("seed", range(1, 6))
def test_accuracy_on_digits_is_at_least_97_percent_with_seeds_1_to_5(seed: int) -> None:
    assert accuracy("--seed", str(seed)) >= 0.97


@pytest.mark.parametrize("name", list(fs.optim.registry))
def test_networks_learn_with_every_optimizer(name: str) -> None:
    assert accuracy("--data", "wine", "--optimizer", name.lower(), "--epochs", "30") >= 0.85


@pytest.mark.parametrize("schedule", fs.schedules.NAMES)
def test_networks_learn_with_every_schedule(schedule: str) -> None:
    assert accuracy("--data", "breast_cancer", "--schedule", schedule, "--warmup", "7", "--epochs", "20") >= 0.93


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_networks_learn_with_every_activation_in_float64(activation: str) -> None:
    assert accuracy("--data", "iris", "--activation", activation, "--dtype", "float64") >= 0.86


@pytest.mark.usefixtures("no_picture")
def test_thread_count_and_instruction_set_do_not_change_the_bytes_of_the_model() -> None:
    """A different seed gives different bytes."""
    files = []
    threads = fs.num_threads()
    isa = fs.isa()
    options = ["train", "--epochs", "4", "--ema", "0.95", "--clip-norm", "1", "--l1", "1e-4"]
    try:
        for i, n in enumerate(("1", "2", "1")):
            if i == 2 and isa in ("v3", "v4"):
                fs.set_isa("v2")
            assert main([*options, "--threads", n, "--out", f"d{i}"]) == 0
            files.append(Path(f"d{i}/model.safetensors").read_bytes())
    finally:
        fs.set_num_threads(threads)
        fs.set_isa(isa)
    assert files[0] == files[1] == files[2]
    assert main([*options, "--seed", "1", "--out", "other"]) == 0
    assert Path("other/model.safetensors").read_bytes() != files[0]


@pytest.mark.usefixtures("no_picture")
def test_a_regression_reports_r2_and_predicts_in_the_units_of_the_target(capsys: pytest.CaptureFixture[str]) -> None:
    from sklearn.datasets import load_diabetes

    assert main(["train", "--data", "diabetes"]) == 0
    found = re.search(r"test R\^2: ([0-9.]+)", capsys.readouterr().out)
    assert found and float(found[1]) > 0.25
    X, y = load_diabetes(return_X_y=True)
    predicted = nn.load("fusedstep-out/model.safetensors").predict(X)
    assert 1 - np.sum((predicted - y) ** 2) / np.sum((y - y.mean()) ** 2) > 0.35


@pytest.mark.usefixtures("no_picture")
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_train_reads_a_csv_file_whose_classes_are_strings(delimiter: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The option `--drop` leaves out a column of identifiers."""
    rows = [[*row[:2], f"name{i}", row[2]] for i, row in enumerate(points(200))]
    file = write_csv(rows, ("u", "v", "id", "side"), delimiter)
    assert main(["train", "--data", file, "--target", "side", "--drop", "id"]) == 0
    assert "2 features, 2 classes" in capsys.readouterr().out
    trained = nn.load("fusedstep-out/model.safetensors")
    assert trained.feature_names == ["u", "v"]
    assert trained.predict([[-2, -2], [2, 2]]).tolist() == ["left", "right"]


@pytest.mark.usefixtures("no_picture")
@pytest.mark.parametrize(
    ("target", "options", "expected"),
    [
        (lambda i, a: i % 3, [], "3 classes"),
        (lambda i, a: i, [], "regression"),
        (lambda i, a: a, [], "regression"),
        (lambda i, a: i % 3, ["--task", "regression"], "regression"),
        (lambda i, a: (i % 2) + 0.5, ["--task", "classification"], "2 classes"),
        (lambda i, a: ("1", "2", "x")[i % 3], [], "3 classes"),
    ],
)
def test_task_is_determined_by_the_option_task_or_by_the_values_of_the_target(
    target: Any, options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the option, the values decide. `target` computes them from the row number and the first cell of a row."""
    file = write_csv([[*row[:2], target(i, row[0])] for i, row in enumerate(points())])
    assert main(["train", "--data", file, "--target", "side", "--epochs", "1", *options]) == 0
    assert expected in capsys.readouterr().out.splitlines()[0]


@pytest.mark.usefixtures("no_picture")
def test_train_reads_an_npz_file_of_images_whose_classes_are_strings() -> None:
    rng = np.random.default_rng(0)
    y = np.array(["dark", "light"])[np.arange(80) % 2]
    X = rng.random((80, 3, 3)) + (y == "light")[:, None, None]
    np.savez("images.npz", X=X, y=y)
    assert main(["train", "--data", "images.npz", "--epochs", "20"]) == 0
    trained = nn.load("fusedstep-out/model.safetensors")
    assert trained.predict([[0.4] * 9, [1.6] * 9]).tolist() == ["dark", "light"]


def test_scaling_of_the_columns_uses_only_the_training_rows() -> None:
    """An outlier in a test or validation row does not change the scaling. An outlier in a training row does."""
    from fusedstep.cli._data import load_table, prepare

    def problem(value: float, row: int) -> Any:
        rows = points()
        rows[row][0] = value
        return prepare(load_table(write_csv(rows), "side"), "auto", 0)

    plain = problem(0.5, 0)
    assert sorted([*plain.train, *plain.validation, *plain.test]) == list(range(60))
    assert len(plain.test) == 12 and len(plain.validation) == 6
    unseen = problem(1e6, int(plain.test[0])), problem(1e6, int(plain.validation[0]))
    seen = problem(1e6, int(plain.train[0]))
    # the table without an outlier
    reference = problem(points()[int(plain.test[0])][0], int(plain.test[0]))
    for other in unseen:
        assert np.array_equal(other.input_mean, reference.input_mean)
        assert np.array_equal(other.input_scale, reference.input_scale)
    assert seen.input_mean[0] > 1e4


@pytest.mark.usefixtures("no_picture")
def test_early_stopping_restores_the_best_weights(capsys: pytest.CaptureFixture[str]) -> None:
    """The model equals a model whose training ended at the best epoch."""
    options = [
        "--data",
        "wine",
        "--lr",
        "0.02",
        "--patience",
        "3",
        "--schedule",
        "constant",
        "--weight-decay",
        "0",
    ]
    assert main(["train", *options, "--epochs", "200"]) == 0
    out = capsys.readouterr().out
    found = re.search(r"best epoch: (\d+) of (\d+), stopped early", out)
    assert found and int(found[2]) == int(found[1]) + 3
    first = nn.load("fusedstep-out/model.safetensors").model.arena.copy()
    assert main(["train", *options, "--epochs", found[1]]) == 0
    assert np.array_equal(nn.load("fusedstep-out/model.safetensors").model.arena, first)


@pytest.mark.usefixtures("no_picture")
def test_proximal_l1_gives_exact_zeros_in_weights_but_not_in_biases() -> None:
    sgd = ["--optimizer", "SGD", "--set", "momentum=0.9", "--lr", "0.05", "--hidden", "8", "--epochs", "20"]
    options = ["train", "--data", "breast_cancer", "--decay", "proximal", *sgd]
    assert main([*options, "--l1", "0.05"]) == 0
    weak = nn.load("fusedstep-out/model.safetensors").model.params
    assert 0.2 < np.mean(weak["0.weight"] == 0) < 1
    assert main([*options, "--l1", "10"]) == 0
    strong = nn.load("fusedstep-out/model.safetensors").model.params
    assert not strong["2.weight"].any() and strong["2.bias"].all()


def test_compare_trains_every_registered_optimizer(capsys: pytest.CaptureFixture[str]) -> None:
    """If the option `--optimizers` is given, only the optimizers that it names are trained."""
    assert main(["compare", "--data", "wine", "--epochs", "3"]) == 0
    out = capsys.readouterr().out
    table = out[out.index("optimizer ") :].splitlines()
    assert {line.split()[0] for line in table[1:-1]} == set(fs.optim.registry)
    assert png_size("fusedstep-out/compare.png") > (1000, 300)
    assert main(["compare", "--data", "wine", "--epochs", "1", "--optimizers", "sgd,adamw"]) == 0
    assert "Adagrad" not in capsys.readouterr().out


def test_diverging_run_prints_advice_and_exits_with_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    """No model is saved. The command `compare` also reports the divergence, but its status is 0."""
    options = ["--optimizer", "SGD", "--lr", "1e30", "--schedule", "constant"]
    assert main(["train", "--data", "iris", *options]) == 1
    captured = capsys.readouterr()
    assert "the loss is not finite; a smaller --lr than 1e+30" in captured.out and captured.err == ""
    assert not Path("fusedstep-out/model.safetensors").exists()
    assert main(["compare", "--data", "iris", "--lr", "1e30", "--optimizers", "SGD,Adam", "--epochs", "2"]) == 0
    assert "not finite" in capsys.readouterr().out
