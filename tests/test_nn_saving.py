"""Saved models: the same predictions, the same bytes, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusedstep import nn

pytest.importorskip("safetensors")


def trained_model() -> nn.TrainedModel:
    model = nn.Sequential(nn.Linear(5, 7), nn.HardTanh(), nn.Linear(7, 4), rng=3)
    names = ["a", "b", "c", "d", "e"]
    return nn.TrainedModel(model, "classification", np.arange(5.0), np.full(5, 2.0), names, ["w", "x", "ä", "z"])


def test_a_saved_model_predicts_the_same(tmp_path: Path) -> None:
    trained, path = trained_model(), tmp_path / "m.safetensors"
    nn.save(path, trained)
    loaded = nn.load(path)
    X = np.random.default_rng(0).standard_normal((20, 5)) * 3
    assert loaded.predict(X).tolist() == trained.predict(X).tolist()
    assert set(loaded.predict(X).tolist()) <= {"w", "x", "ä", "z"}
    assert np.array_equal(loaded.predict_proba(X), trained.predict_proba(X))
    logits = trained.model.predict((X - np.arange(5)) / 2)
    assert np.array_equal(trained.predict_proba(X), nn.softmax(logits))
    assert loaded.feature_names == trained.feature_names and loaded.description() == trained.description()
    with pytest.raises(ValueError, match=r"X must be finite numbers of shape \(n, 5\); got shape \(20, 4\)"):
        loaded.predict(X[:, 1:])
    with pytest.raises(ValueError, match=r"got shape \(20, 5\) with nan or inf"):
        loaded.predict(X * np.nan)


def test_a_saved_regression_answers_in_the_targets_units(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 1), rng=0)
    nn.save(
        tmp_path / "r",
        nn.TrainedModel(model, "regression", np.zeros(2), np.ones(2), target_mean=50.0, target_scale=4.0),
    )
    loaded = nn.load(tmp_path / "r")
    assert loaded.predict([[1, 2]]) == pytest.approx(50 + 4 * model.predict([[1, 2]])[:, 0])
    with pytest.raises(ValueError, match="task must be classification; got regression"):
        loaded.predict_proba([[1, 2]])


def test_files_are_the_same_bytes_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    nn.save(path, trained_model())
    first = path.read_bytes()
    nn.save(path, trained_model())
    assert path.read_bytes() == first
    broken = trained_model()
    broken.classes = [object()]
    with pytest.raises(TypeError):
        nn.save(path, broken)
    assert path.read_bytes() == first and [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    with pytest.raises(FileNotFoundError, match=r"nn\.load: path must be a file"):
        nn.load(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ValueError, match="is not a safetensors file"):
        nn.load(tmp_path / "text")
    save_file({"a": np.zeros(3)}, tmp_path / "other")
    with pytest.raises(ValueError, match="not a model of fusedstep"):
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
