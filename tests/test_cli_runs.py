"""Runs on the command line: the folder with their files, resuming, class weights, comparisons and dropout masks."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

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


@pytest.mark.usefixtures("no_picture")
def test_files_of_two_runs_are_never_mixed(out: Out) -> None:
    """Files of an earlier run are moved to a numbered folder. A file that no run has written stays."""
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
def test_run_that_diverges_at_once_leaves_the_old_files_in_place() -> None:
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
        ["--state-dtype", "uint8", "--set", "seed=3"],
        ["--optimizer", "adagrad", "--dtype", "float64", "--patience", "4", "--lr", "0.2", "--schedule", "constant"],
    ],
)
def test_a_resumed_run_equals_the_uninterrupted_one(options: list[str], out: Out) -> None:
    """Both have the same model and history, byte by byte. The files written before `--resume` are moved to `run-1`."""
    wine = ["train", "--data", "wine", "--class-weight", "balanced", *options]
    if "constant" not in options and "plateau" not in options:
        wine += ["--schedule", "constant"]  # the default schedule, cosine, depends on the number of epochs
    assert main([*wine, "--epochs", "9", "--out", "whole"]) == 0
    assert main([*wine, "--epochs", "5", "--out", "parts"]) == 0
    assert main(["train", "--resume", "--out", "parts", "--epochs", "9"]) == 0
    assert Path("whole/model.safetensors").read_bytes() == Path("parts/model.safetensors").read_bytes()
    assert Path("whole/history.csv").read_bytes() == Path("parts/history.csv").read_bytes()
    assert Path("parts/run-1/model.safetensors").exists()


@pytest.mark.usefixtures("no_picture")
def test_state_dtype_is_passed_to_the_optimizer() -> None:
    pytest.importorskip("ml_dtypes")
    iris = ["train", "--data", "iris", "--epochs", "3"]
    assert main([*iris, "--out", "plain"]) == 0
    assert main([*iris, "--state-dtype", "bfloat16", "--out", "flag"]) == 0
    assert main([*iris, "--set", "state_dtype=bfloat16", "--out", "set"]) == 0
    plain, flag, by_set = (Path(f"{name}/model.safetensors").read_bytes() for name in ("plain", "flag", "set"))
    assert flag == by_set != plain


@pytest.mark.usefixtures("no_picture")
def test_a_run_that_resumes_after_ctrl_c_equals_the_uninterrupted_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test simulates Ctrl-C within an epoch. It also lets the run save its state after every epoch."""
    words = ["train", "--data", "wine", "--epochs", "8", "--dropout", "0.1"]
    assert main([*words, "--out", "whole"]) == 0
    assert main(["train", "--data", "iris", "--epochs", "1", "--out", "parts"]) == 0  # files of another run
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
def test_killed_run_leaves_files_of_one_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error simulates the kill. The files of the earlier run are moved, and the killed run can be resumed."""
    assert main(["train", "--data", "iris", "--epochs", "1"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr("fusedstep.cli._train.SAVE_SECONDS", 0.0)
        patch.setattr("fusedstep.cli._train.Finish", None)  # so the run raises an error before it writes its results
        with pytest.raises(TypeError):
            main(["train", "--data", "wine", "--epochs", "2"])
    left = {path.name for path in Path("fusedstep-out").iterdir()}
    assert left == {"run-1", "checkpoint.safetensors", "checkpoint-optimizer.safetensors"}
    assert main(["train", "--resume", "--epochs", "3"]) == 0


@pytest.mark.usefixtures("no_picture")
def test_resume_explains_why_a_run_cannot_be_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    def complaint(*words: str) -> str:
        assert main(["train", "--resume", *words]) == 2
        return capsys.readouterr().err

    assert "--resume: --out must be the folder of a run; got my-run, which has no checkpoint.safetensors" in complaint(
        "--out", "my-run"
    )
    customers().to_csv("t.csv", index=False)
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "2"]) == 0
    assert "--resume: --epochs must be above 2, the number of epochs that the run has finished; got 2" in complaint()
    assert "does not fit these options" in complaint("--epochs", "4", "--hidden", "8")
    customers(200).to_csv("t.csv", index=False)
    assert "the data or its columns have changed since the run began" in complaint("--epochs", "4")
    Path("fusedstep-out/checkpoint.safetensors").write_bytes(b"hello")
    assert "is not the saved state of a run" in complaint()


@pytest.mark.usefixtures("no_picture")
def test_class_weights_raise_the_recall_of_a_rare_class() -> None:
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
    """Files are written nevertheless."""
    assert main(["train", "--data", "iris", "--epochs", "2", "--quiet"]) == 0
    np.savez("iris.npz", X=np.ones((3, 4)), y=["setosa"] * 3)
    assert main(["evaluate", MODEL, "iris.npz", "--quiet"]) == 0
    assert main(["predict", MODEL, "iris.npz", "--quiet"]) == 0
    assert main(["compare", "--data", "iris", "--epochs", "1", "--optimizers", "sgd", "--quiet"]) == 0
    assert out() == "" and Path("iris-predictions.csv").exists()


@pytest.mark.usefixtures("no_picture")
def test_output_contains_the_learning_rate_and_the_weight_decay(out: Out) -> None:
    assert main(["train", "--data", "iris", "--epochs", "1", "--lr", "0.02", "--weight-decay", "0.1"]) == 0
    assert "AdamW, learning rate 0.02 (cosine schedule), weight decay 0.1 (decoupled)" in out()


def test_train_and_compare_refuse_a_warm_up_that_is_as_long_as_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("train", "compare"):
        assert main([command, "--data", "iris", "--epochs", "2", "--warmup", "8"]) == 2
        assert "--warmup must be below the 8 steps of the run; got 8" in capsys.readouterr().err


def test_compare_ranks_optimizers_by_their_mean_loss_over_seeds(out: Out) -> None:
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
def test_prediction_with_dropout_masks_reports_an_uncertainty(out: Out, capsys: pytest.CaptureFixture[str]) -> None:
    """The option `--mc-samples` is refused for a model without dropout."""
    customers().to_csv("t.csv", index=False)
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "2", "--dropout", "0.3"]) == 0
    assert main(["predict", MODEL, "t.csv", "--mc-samples", "10"]) == 0
    header = list(rows_of("t-predictions.csv")[0])
    assert header[2] == "uncertainty (entropy of the mean probabilities over the masks, in nats)"
    assert main(["train", "--data", "t.csv", "--target", "left", "--epochs", "1"]) == 0
    assert main(["predict", MODEL, "t.csv", "--mc-samples", "10"]) == 2
    assert "--mc-samples needs a model with dropout" in capsys.readouterr().err
