"""Loaded models predict like the saved models. Equal models give equal files. Files without a model are refused."""

from __future__ import annotations

import json
import os
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import nn

safetensors = pytest.importorskip("safetensors.numpy")


def trained_model() -> nn.TrainedModel:
    model = nn.Sequential(nn.Linear(5, 7), nn.HardTanh(), nn.Linear(7, 4), rng=3)
    names = ["a", "b", "c", "d", "e"]
    return nn.TrainedModel(model, "classification", np.arange(5.0), np.full(5, 2.0), names, ["w", "x", "ä", "z"])


def test_loaded_classifier_has_the_predictions_and_names_of_the_saved_model(tmp_path: Path) -> None:
    """The model standardizes the inputs. Inputs with a wrong shape or with nan are refused."""
    trained, path = trained_model(), tmp_path / "m.safetensors"
    nn.save(path, trained)
    loaded = nn.load(path)
    X = np.random.default_rng(0).standard_normal((20, 5)) * 3
    assert loaded.predict(X).tolist() == trained.predict(X).tolist()
    assert set(loaded.predict(X).tolist()) <= {"w", "x", "ä", "z"}
    assert np.array_equal(loaded.predict_proba(X), trained.predict_proba(X))
    logits = trained.model.predict((X - np.arange(5)) / 2)
    assert np.array_equal(trained.predict_proba(X), nn.softmax(logits))
    assert loaded.feature_names == trained.feature_names
    assert loaded.description() == trained.description()
    with pytest.raises(ValueError, match=r"X must be finite numbers of shape \(n, 5\); got shape \(20, 4\)"):
        loaded.predict(X[:, 1:])
    with pytest.raises(ValueError, match=r"got shape \(20, 5\) with nan or inf"):
        loaded.predict(X * np.nan)


def test_loaded_regression_model_predicts_in_the_units_of_the_target(tmp_path: Path) -> None:
    """A regression model has no probabilities, so it refuses `predict_proba`."""
    model = nn.Sequential(nn.Linear(2, 1), rng=0)
    nn.save(
        tmp_path / "r",
        nn.TrainedModel(model, "regression", np.zeros(2), np.ones(2), target_mean=50.0, target_scale=4.0),
    )
    loaded = nn.load(tmp_path / "r")
    assert loaded.predict([[1, 2]]) == pytest.approx(50 + 4 * model.predict([[1, 2]])[:, 0])
    with pytest.raises(ValueError, match="task must be classification; got regression"):
        loaded.predict_proba([[1, 2]])


def test_saving_twice_writes_the_same_bytes_and_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    """A save fails if an attribute of the model has a wrong value."""
    path = tmp_path / "m.safetensors"
    nn.save(path, trained_model())
    first = path.read_bytes()
    nn.save(path, trained_model())
    assert path.read_bytes() == first
    broken = trained_model()
    for name, value in {"classes": [object()] * 3, "target_scale": 0.0, "input_mean": np.full(5, np.nan)}.items():
        before = getattr(broken, name)
        setattr(broken, name, value)
        with pytest.raises(ValueError, match=f"TrainedModel: {name} must be "):
            nn.save(path, broken)
        setattr(broken, name, before)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


class Tanh(nn.Tanh):
    """A user's layer with the name of a layer of fusedstep."""

    def _apply(self, x: np.ndarray, y: np.ndarray) -> None:
        np.multiply(2, np.tanh(x), out=y)


@pytest.mark.parametrize("own", [Tanh(), nn.Residual(Tanh(), nn.BatchNorm())])
def test_save_refuses_a_layer_that_load_does_not_know(own: nn.Layer, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 1), own, rng=0)
    with pytest.raises(TypeError, match=r"nn.save: trained must have only layers of fusedstep.nn; got Tanh\(\) of "):
        nn.save(tmp_path / "r", nn.TrainedModel(model, "regression", np.zeros(2), np.ones(2)))
    assert not list(tmp_path.iterdir())


def test_load_refuses_files_that_do_not_contain_a_model(tmp_path: Path) -> None:
    """A file is missing, is plain text, was written by another program, or has a wrong description of a model."""
    from safetensors.numpy import save_file

    with pytest.raises(FileNotFoundError, match="none"):
        nn.load(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        nn.load(tmp_path / "text")
    save_file({"a": np.zeros(3)}, tmp_path / "other")
    with pytest.raises(ValueError, match="path must be a file that fusedstep wrote"):
        nn.load(tmp_path / "other")
    linear = '"layers":[{"type":"Linear","in_features":%d,"out_features":3,"bias":false}]'
    for about in (
        "[]",
        "{}",
        "nonsense",
        '{"format":9}',
        '{"format":1,"layers":[{"type":"Evil"}],"dtype":"float32"}',
        '{"format":1,%s,"dtype":"float64","task":"regression","classes":[]}' % (linear % 1),
        '{"format":1,%s,"dtype":"float64"}' % (linear % 10**12),
    ):
        arrays = {"model.0.weight": np.zeros((1, 3)), "input.mean": np.zeros(1), "input.scale": np.ones(1)}
        save_file(arrays, tmp_path / "odd", {"fusedstep": about})
        with pytest.raises(ValueError, match="does not describe a model"):
            nn.load(tmp_path / "odd")


def description(**changes: object) -> str:
    return json.dumps(trained_model().description() | changes)


def layer(**changes: object) -> str:
    return description(layers=[{"type": "Linear", "in_features": 5, "out_features": 4, "bias": True, **changes}])


def model_tensors() -> dict[str, np.ndarray]:
    arrays = {f"model.{name}": a for name, a in trained_model().model.state_dict().items()}
    return {**arrays, "input.mean": np.arange(5.0), "input.scale": np.full(5, 2.0)}


# Key: words of the error message. Value: a description and arrays for the file. The description or an array is wrong.
WRONG = {
    "its format must be 1 or 2; got True": (description(format=True), {}),
    "its classes must be a list; got 'wxyz'": (description(classes="wxyz"), {}),
    "its layers must be a list": (description(layers={"type": "Linear"}), {}),
    "classes must be different strings or numbers; got [['w']": (description(classes=[["w"], ["x"], ["y"], ["z"]]), {}),
    "classes must be different strings or numbers; got ['w', 'w'": (description(classes=["w", "w", "y", "z"]), {}),
    "got task='classification', 4 outputs and 3 classes": (description(classes=["w", "x", "y"]), {}),
    "got task=['classification'], 4 outputs and 4 classes": (description(task=["classification"]), {}),
    "feature_names must be strings; got [1": (description(feature_names=[1, 2, 3, 4, 5]), {}),
    "feature_names must be empty or 5 names; got ['a']": (description(feature_names=["a"]), {}),
    "target_scale must be finite": (description(target_scale=float("nan")), {}),
    "target_mean must be a number; got 'nan'": (description(target_mean="nan"), {}),
    "input_mean must be finite": (description(), {"input.mean": np.full(5, np.nan)}),
    "input_scale must be finite and above 0": (description(), {"input.scale": np.zeros(5)}),
    "input_scale must be numbers of shape (5,); got float64 (4,)": (description(), {"input.scale": np.ones(4)}),
    "or begin with 'model.'; got 'other'": (description(), {"other": np.zeros(3)}),
    "bias must be True or False; got 'no'": (layer(bias="no"), {}),
    "unexpected keyword argument": (layer(evil=1), {}),
    "recursion": ('{"format":1,"layers":' + "[" * 100_000, {}),
    "Exceeds the limit": ('{"format":' + "9" * 5000, {}),
}


@pytest.mark.parametrize("words", WRONG)
def test_load_refuses_wrong_descriptions_and_arrays_of_a_model(words: str, tmp_path: Path) -> None:
    about, arrays = WRONG[words]
    safetensors.save_file({**model_tensors(), **arrays}, tmp_path / "m", {"fusedstep": about})
    with pytest.raises(ValueError, match="does not describe a model: .*" + re.escape(words)):
        nn.load(tmp_path / "m")


def test_load_refuses_layers_larger_than_the_file_without_allocating_them(tmp_path: Path) -> None:
    """The description says that a layer has 3,000,000 outputs."""
    about = layer(in_features=5, out_features=3_000_000)
    safetensors.save_file(model_tensors(), tmp_path / "m", {"fusedstep": about})
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="its tensors must hold 18000000 numbers, as its layers need; got "):
            nn.load(tmp_path / "m")
        assert tracemalloc.get_traced_memory()[1] < 1 << 25  # the layer has more than 2**26 bytes
    finally:
        tracemalloc.stop()


def test_load_state_dict_refuses_wrong_arrays_and_changes_nothing() -> None:
    """The state is None, has a masked array, or has a negative number of training passes."""
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5), nn.BatchNorm(), rng=0)
    before, good = model.arena.copy(), model.state_dict()
    for bad, error, words in (
        (None, TypeError, "state must be a dict of arrays; got NoneType"),
        ({**good, "0.bias": np.ma.array(good["0.bias"])}, ValueError, r'state\["0.bias"\] must be .*; got MaskedArray'),
        ({**good, "1.stream": np.array([1, -1])}, ValueError, r'state\["1.stream"\] must be at least 0; got -1'),
        ({**good, "2.num_batches": np.array([-7])}, ValueError, "must be at least 0; got -7"),
    ):
        with pytest.raises(error, match=words):
            model.load_state_dict(bad)
        assert (model.arena == before).all()


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links here")
def test_save_replaces_a_symbolic_link_and_does_not_change_its_target(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("unchanged")
    (tmp_path / "m").symlink_to(tmp_path / "elsewhere")
    nn.save(tmp_path / "m", trained_model())
    assert (tmp_path / "elsewhere").read_text() == "unchanged"
    assert not (tmp_path / "m").is_symlink()
    assert nn.load(tmp_path / "m").task == "classification"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_load_refuses_pipes_and_devices_without_waiting(tmp_path: Path) -> None:
    """Regular files are accepted, also if their paths are bytes."""
    os.mkfifo(tmp_path / "pipe")
    optimizer = fs.SGD([np.ones(3)])
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        for load in (optimizer.load, nn.load):
            with pytest.raises(ValueError, match="path must be a regular file; got"):
                load(path)
    nn.save(os.fsencode(tmp_path / "m"), trained_model())
    assert nn.load(os.fsencode(tmp_path / "m")).classes == trained_model().classes


def test_saved_sequential_is_loaded_as_a_sequential_with_equal_predictions(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3), nn.Tanh(), nn.Linear(3, 1), rng=0)
    model.forward(np.linspace(0, 1, 8, dtype=np.float32).reshape(4, 2), training=True)
    nn.save(tmp_path / "model", model)
    again = nn.load(tmp_path / "model")
    assert isinstance(again, nn.Sequential)
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)
    assert np.array_equal(again.predict(x), model.predict(x))


def test_save_refuses_an_object_that_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"nn.save: trained must be a TrainedModel or a Sequential; got Linear"):
        nn.save(tmp_path / "model", nn.Linear(2, 1))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_trained_model_finds_columns_of_a_data_frame_by_name() -> None:
    """A data frame with a missing or an additional column is refused."""
    pandas = pytest.importorskip("pandas")
    model = nn.Sequential(nn.Linear(2, 1), rng=0)
    trained = nn.TrainedModel(model, "regression", np.zeros(2), np.ones(2), ["a", "b"])
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [30.0, 40.0]})
    assert np.array_equal(trained.predict(frame[["b", "a"]]), trained.predict(frame.to_numpy()))
    with pytest.raises(ValueError, match=r"X must have the columns \['a', 'b'\]; X does not have \['b'\]"):
        trained.predict(frame[["a"]])
    with pytest.raises(ValueError, match=r"X must have the columns \['a', 'b'\]; X also has \['c'\]"):
        trained.predict(frame.assign(c=0))


def test_repr_of_a_trained_model_has_at_most_five_lines_of_120_characters() -> None:
    assert repr(trained_model()) == (
        "TrainedModel(classification into 4 classes: w, x, ä, z\n"
        "  inputs: 5 features: a, b, c, d, e\n"
        "  network: 3 layers, 74 weights, float32: Linear, HardTanh, Linear)"
    )
    model = nn.Sequential(*(nn.Linear(300, 300) for _ in range(30)), nn.Linear(300, 1), rng=0)
    names = [f"a long name of column {i}" for i in range(300)]
    large = nn.TrainedModel(model, "regression", np.zeros(300), np.ones(300), names, target_name="price")
    assert repr(large).startswith("TrainedModel(regression of 'price'\n")
    assert len(repr(large).splitlines()) <= 5
    assert max(map(len, repr(large).splitlines())) <= 120
