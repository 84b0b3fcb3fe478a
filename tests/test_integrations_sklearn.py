"""The estimators work with other tools for scikit-learn: skops, MLflow, ONNX and array API dispatch.

Some tests are about `weight_decay`, a class with a single row, and a diverging fit.
"""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_iris

import fusedstep as fs
from fusedstep import nn
from fusedstep.sklearn import MLPClassifier, MLPRegressor
from support.integrations import package

pytestmark = [
    pytest.mark.filterwarnings("ignore:Maximum iterations:sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:lbfgs failed:sklearn.exceptions.ConvergenceWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 4))
LABELS = np.array(["low", "middle", "high"])[np.digitize(X[:, 0] + X[:, 1] ** 2, [0, 1])]
SMALL: dict[str, Any] = {"hidden_layer_sizes": (6,), "max_iter": 4, "random_state": 0, "batch_size": 16}

FITTED: dict[str, Any] = {
    "plain": {},
    "several options": {"dropout": 0.2, "batch_norm": True, "solver": "AdamW", "ema_decay": 0.9, "sparsity": 1e-3},
    "lbfgs": {"solver": "lbfgs"},
    "snapshots": {"learning_rate": "cosine_restarts", "snapshots": 2, "solver": "sgd", "max_iter": 6},
    "early stopping": {"early_stopping": True, "max_iter": 8},
    "plateau": {"learning_rate": "plateau", "warmup": 3, "solver": "nag"},
    "schedule": {"learning_rate": "cosine", "solver": "lion", "weight_decay": 0.1},
}


def fitted(options: dict[str, Any]) -> MLPClassifier:
    return MLPClassifier(**{**SMALL, **options}).fit(X, LABELS)


@pytest.mark.parametrize("options", FITTED.values(), ids=FITTED)
@pytest.mark.parametrize("way", ["skops", "pickle", "deepcopy"])
def test_a_copy_predicts_and_continues_training_like_the_original(options: dict[str, Any], way: str) -> None:
    model = fitted(options)
    if way == "skops":
        io = package("skops.io")
        data = io.dumps(model)
        assert io.get_untrusted_types(data=data) == ["fusedstep.sklearn.MLPClassifier"]
        again = io.loads(data, trusted=["fusedstep.sklearn.MLPClassifier"])
    else:
        again = pickle.loads(pickle.dumps(model)) if way == "pickle" else copy.deepcopy(model)
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert again.get_params().keys() == model.get_params().keys() and again.loss_curve_ == model.loss_curve_
    if options.get("solver") == "lbfgs":  # it does not support partial_fit
        return
    rows = {"X_val": X[:20], "y_val": LABELS[:20]} if options.get("early_stopping") else {}
    for one in (model, again):
        one.partial_fit(X, LABELS, **rows)
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(again._model.arena, model._model.arena)


def test_unfitted_estimator_can_be_saved_by_skops() -> None:
    io = package("skops.io")
    again = io.loads(io.dumps(MLPRegressor(hidden_layer_sizes=(3,))), trusted=["fusedstep.sklearn.MLPRegressor"])
    assert again.hidden_layer_sizes == (3,) and not hasattr(again, "_model")


@pytest.mark.filterwarnings("default")  # warnings of MLflow are not errors
def test_mlflow_saves_and_loads_in_its_default_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = package("mlflow")
    sklearn_flavor = package("mlflow.sklearn")
    package("skops.io")
    monkeypatch.chdir(tmp_path)
    model = fitted({"batch_norm": True})
    types = ["fusedstep.sklearn.MLPClassifier"]
    sklearn_flavor.save_model(model, tmp_path / "model", skops_trusted_types=types, pip_requirements=["fusedstep"])
    assert (tmp_path / "model" / "model.skops").exists()
    again = sklearn_flavor.load_model(str(tmp_path / "model"))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    served = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    assert served.predict(X).tolist() == model.predict(X).tolist()


def run_onnx(model: Any, x: Any) -> list[Any]:
    """Convert an estimator to ONNX, and return the predictions of onnxruntime."""
    package("skl2onnx")
    runtime = package("onnxruntime")
    from skl2onnx import to_onnx

    from fusedstep.sklearn import onnx

    onnx.register()
    options = {id(model): {"zipmap": False}} if isinstance(model, MLPClassifier) else None
    made = to_onnx(model, x[:1], options=options)
    session = runtime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(None, {"X": x})
    return found


TARGETS = {
    "three names": LABELS,
    "two numbers": (X[:, 0] > 0).astype(int),
    "two names": np.where(X[:, 0] > 0, "up", "down"),
    "several labels": np.stack([X[:, 0] > 0, X[:, 1] > 0], axis=1).astype(int),
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("options", [{}, {"batch_norm": True, "dropout": 0.2, "sparsity": 1e-3}])
def test_onnx_model_predicts_the_same_as_the_classifier(target: Any, options: dict[str, Any]) -> None:
    model = MLPClassifier(**SMALL, **options).fit(X.astype(np.float32), target)
    x = X.astype(np.float32)
    labels, p = run_onnx(model, x)
    np.testing.assert_allclose(p, model.predict_proba(x), atol=1e-6)
    assert np.array_equal(labels, model.predict(x))


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity", "hard_tanh"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_onnx_model_predicts_the_same_as_the_regressor(activation: str, dtype: Any) -> None:
    x = X.astype(dtype)
    for options in ({}, {"batch_norm": True}, {"loss": "poisson", "hidden_layer_sizes": ()}):
        model = MLPRegressor(**{**SMALL, "activation": activation, **options}).fit(x, np.abs(X[:, :2]))
        np.testing.assert_allclose(run_onnx(model, x)[0], model.predict(x), rtol=1e-6, atol=1e-6)


def test_onnx_model_with_averaged_weights_or_snapshots_or_a_residual_block_predicts_the_same() -> None:
    """For the residual block, the test replaces the network of a fitted estimator."""
    x = X.astype(np.float32)
    for options in ({"ema_decay": 0.9}, {"learning_rate": "cosine_restarts", "snapshots": 3, "max_iter": 6}):
        model = MLPClassifier(**{**SMALL, **options}).fit(x, LABELS)
        np.testing.assert_allclose(run_onnx(model, x)[1], model.predict_proba(x), atol=1e-6)
    block = nn.Residual(nn.Linear(6, 6, bias=False), nn.BatchNorm(relu=True))
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), block, nn.Linear(6, 3), rng=0)
    for _ in range(3):
        network.forward(x, training=True)
    model = fitted({"dtype": "float32"})
    model._models = [network]
    np.testing.assert_allclose(run_onnx(model, x)[1], model.predict_proba(x), atol=1e-6)


DISPATCH = """
import sklearn, torch
from fusedstep.sklearn import MLPClassifier

x, y = torch.randn(30, 3), [0, 1] * 15
model = MLPClassifier((3,), learning_rate="cosine", max_iter=2).fit(x.numpy(), y)
with sklearn.config_context(array_api_dispatch=True):
    assert len(model.predict(x.numpy())) == 30
    for call in (lambda: model.fit(x, y), lambda: model.predict(x), lambda: model.fit(x.numpy(), torch.tensor(y))):
        try:
            call()
        except TypeError as error:
            print(error)
"""


def test_errors_under_array_api_dispatch_name_the_argument(torch: Any) -> None:
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}  # scipy reads this variable during its import
    done = subprocess.run([sys.executable, "-c", DISPATCH], capture_output=True, text=True, env=environment, check=True)
    need = "MLPClassifier: {} must be a NumPy array while scikit-learn's array_api_dispatch is on; got torch.Tensor. "
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line, name in zip(lines, ("X", "X", "y"), strict=True):
        assert line.startswith(need.format(name)) and line.endswith("or turn array_api_dispatch off")


def test_weight_decay_of_the_estimator_equals_that_of_the_optimizer() -> None:
    """Every step multiplies the weights by 1 - learning rate * weight_decay, for any batch size.

    `alpha` is divided by the number of rows in the batch. So `alpha=0.5` leaves larger weights than `weight_decay=0.5`.
    """
    decayed = MLPClassifier(**SMALL, solver="AdamW", weight_decay=0.5).fit(X, LABELS)
    own = MLPClassifier(**{**SMALL, "solver": lambda groups: fs.AdamW(_with_decay(groups), lr=0.001)}).fit(X, LABELS)
    assert all(np.array_equal(a, b) for a, b in zip(decayed.coefs_, own.coefs_, strict=True))
    plain = MLPClassifier(**SMALL, solver="AdamW", alpha=0.5).fit(X, LABELS)
    sizes = [sum(float(np.sum(w**2)) for w in model.coefs_) for model in (decayed, plain)]
    assert sizes[0] < sizes[1]


def _with_decay(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the groups with a weight decay of 0.5 in the first group, which contains the weights."""
    return [groups[0] | {"weight_decay": 0.5}, groups[1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"weight_decay": 0.1},
            r"weight_decay needs decay='decoupled' \(.*\); got weight_decay=0.1, solver='adam', decay=None",
        ),
        ({"solver": "AdamW", "decay": "l2", "weight_decay": 0.1}, "for a decay of 'l2', use alpha instead"),
        (
            {"solver": "AdamW", "l1_ratio": 0.5, "weight_decay": 0.1},
            "weight_decay replaces the penalty alpha, so l1_ratio, a share of alpha, must be 0",
        ),
        (
            {"solver": "lbfgs", "weight_decay": 0.1},
            "solver='lbfgs' uses the gradient of all rows and does not support weight_decay",
        ),
        ({"solver": "AdamW", "solver_params": {"weight_decay": 0.1}}, "solver_params must not have weight_decay"),
    ],
)
def test_wrong_uses_of_weight_decay_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**{**SMALL, **options}).fit(X, LABELS)


def test_error_about_a_class_with_a_single_row_contains_its_label() -> None:
    labels = np.array(["often"] * 89 + ["once"])
    with pytest.raises(ValueError, match=r"least.*In y, the following classes have only one row: \['once'\]\."):
        MLPClassifier(early_stopping=True).fit(X, labels)


def test_a_diverging_fit_with_early_stopping_keeps_the_best_weights() -> None:
    model = MLPRegressor(hidden_layer_sizes=(100,), activation="identity", solver="sgd", learning_rate_init=1,
                         early_stopping=True, max_iter=20, random_state=0)  # fmt: skip
    with pytest.warns(sklearn.exceptions.ConvergenceWarning, match="The weights of the best validation score are kept"):
        model.fit(*load_iris(return_X_y=True))
    assert np.isnan(model.validation_scores_[-1]) and np.isfinite(model.predict(X)).all()
