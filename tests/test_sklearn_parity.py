"""With the same parameters and seed, the estimators learn the weights of scikit-learn's estimators, up to rounding."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor

from fusedstep.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
BASE = {"hidden_layer_sizes": (12, 7), "max_iter": 4, "random_state": 3, "batch_size": 64}
SGD = {"solver": "sgd", "learning_rate_init": 0.1}
OPTIONS: dict[str, dict[str, Any]] = {
    "adam": {},
    "adam, all options": {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3, "alpha": 0.1, "learning_rate_init": 0.01},
    "sgd": SGD,
    "sgd without momentum": {**SGD, "momentum": 0.0},
    "sgd, plain momentum": {**SGD, "nesterovs_momentum": False},
    "invscaling": {**SGD, "learning_rate": "invscaling", "power_t": 0.2},
    "adaptive": {**SGD, "learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 1, "max_iter": 9},
    "without shuffling": {"shuffle": False},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.2},
    "stopped by tol": {"tol": 1.0, "n_iter_no_change": 2, "max_iter": 20},
    "lbfgs": {"solver": "lbfgs", "max_iter": 5},
    "logistic": {"activation": "logistic"},
    "tanh": {"activation": "tanh"},
    "identity": {"activation": "identity"},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "one hidden layer, automatic batch size": {"hidden_layer_sizes": 5, "batch_size": "auto"},
}
FITTED = ("loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_", "n_iter_", "t_",
          "n_layers_", "n_outputs_", "out_activation_", "n_features_in_")  # fmt: skip


def digits(rows: int = 300) -> tuple[Any, Any]:
    X, y = load_digits(return_X_y=True)
    return X[:rows] / 16, y[:rows]


TARGETS: dict[str, Any] = {
    "ten classes": lambda y: np.array(list("jihgfedcba"))[y],
    "two classes": lambda y: y > 4,
    "three labels per row": lambda y: np.stack([y % 2, y > 4, y == 3], axis=1).astype(int),
}


def assert_same_fit(ours: Any, theirs: Any, rtol: float = 1e-9) -> None:
    for name in FITTED:
        if hasattr(theirs, name) or name in ("loss_", "n_iter_"):
            mine, other = getattr(ours, name), getattr(theirs, name)
            if isinstance(other, (float, list)):
                np.testing.assert_allclose(mine, other, rtol=rtol, err_msg=name)
            else:
                assert mine == other, name
    for mine, other in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert mine.dtype == other.dtype
        np.testing.assert_allclose(mine, other, rtol=0, atol=rtol * 10)


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("name", OPTIONS)
def test_classifier_agrees_with_the_classifier_of_scikit_learn(name: str, targets: str) -> None:
    """All fitted attributes, weights and predictions are compared."""
    X, y = digits()
    y = TARGETS[targets](y)
    options = {**BASE, **OPTIONS[name]}
    theirs, ours = TheirClassifier(**options).fit(X, y), MLPClassifier(**options).fit(X, y)
    assert_same_fit(ours, theirs)
    assert np.array_equal(ours.classes_, theirs.classes_)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    assert np.array_equal(ours.predict(X), theirs.predict(X))
    assert ours.predict(X).dtype == theirs.predict(X).dtype


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
@pytest.mark.parametrize("name", ["adam", "sgd", "early stopping", "lbfgs", "tanh"])
def test_regressor_agrees_with_the_regressor_of_scikit_learn(name: str, loss: str, columns: int) -> None:
    X, y = load_diabetes(return_X_y=True)
    X, y = X * 20, y / 100
    y = np.stack([y, 3 - y / 2], axis=1) if columns == 2 else y
    options = {**BASE, **OPTIONS[name], "loss": loss}
    if name == "sgd":
        options["learning_rate_init"] = 0.01
    theirs, ours = TheirRegressor(**options).fit(X, y), MLPRegressor(**options).fit(X, y)
    assert_same_fit(ours, theirs)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-8)
    assert ours.predict(X).shape == theirs.predict(X).shape


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_fit_with_sample_weights_agrees_with_scikit_learn(solver: str) -> None:
    X, y = digits()
    weights = np.random.default_rng(0).random(len(y)) + 0.1
    options = {**BASE, "solver": solver}
    ours = MLPClassifier(**options).fit(X, y, weights)
    assert_same_fit(ours, TheirClassifier(**options).fit(X, y, weights))


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_matrix_gives_the_same_weights_and_predictions_as_a_dense_array(kind: Any) -> None:
    X, y = digits()
    dense, ours = MLPClassifier(**BASE).fit(X, y), MLPClassifier(**BASE).fit(kind(X), y)
    assert all(np.array_equal(a, b) for a, b in zip(dense.coefs_, ours.coefs_, strict=True))
    assert np.array_equal(dense.predict_proba(X), ours.predict_proba(kind(X)))


def test_fit_with_float32_rows_agrees_with_scikit_learn_and_probabilities_are_float32() -> None:
    X, y = digits()
    X = X.astype(np.float32)
    theirs, ours = TheirClassifier(**BASE).fit(X, y), MLPClassifier(**BASE).fit(X, y)
    assert_same_fit(ours, theirs, rtol=1e-3)
    assert ours.predict_proba(X).dtype == np.float32


def test_warm_start_continues_the_training_as_in_scikit_learn() -> None:
    X, y = digits()
    theirs, ours = (kind(**BASE, warm_start=True).fit(X, y) for kind in (TheirClassifier, MLPClassifier))
    theirs.fit(X, y), ours.fit(X, y)
    assert ours.loss_curve_ == pytest.approx(theirs.loss_curve_)
    assert ours.n_iter_ == 4
    assert len(ours.loss_curve_) == 8


@pytest.mark.parametrize("pickled", [False, True])
def test_partial_fit_continues_the_training_as_in_scikit_learn(pickled: bool) -> None:
    """If `pickled` is True, the estimator is pickled and loaded after each call."""
    X, y = digits()
    options = {**BASE, "shuffle": False}
    theirs, ours = TheirClassifier(**options), MLPClassifier(**options)
    for rows in (slice(0, 100), slice(100, 300), slice(0, 300)):
        theirs.partial_fit(X[rows], y[rows], classes=np.arange(10))
        ours.partial_fit(X[rows], y[rows], classes=np.arange(10))
        ours = pickle.loads(pickle.dumps(ours)) if pickled else ours
    assert ours.loss_curve_ == pytest.approx(theirs.loss_curve_, rel=1e-9)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], atol=1e-10)


@pytest.mark.parametrize("pair", [(MLPClassifier, TheirClassifier), (MLPRegressor, TheirRegressor)])
def test_estimator_has_the_parameters_and_defaults_of_scikit_learn(pair: Any) -> None:
    """scikit-learn's `clone` keeps a changed parameter."""
    ours, theirs = pair[0](), pair[1]()
    assert theirs.get_params().items() <= ours.get_params().items()
    assert [name for name in theirs.get_params(deep=False) if name not in ours.get_params()] == []
    assert clone(ours.set_params(alpha=0.5)).alpha == 0.5


@pytest.mark.filterwarnings("error")
def test_training_that_has_not_converged_warns() -> None:
    X, y = digits(100)
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(4\) reached"):
        MLPClassifier(**BASE).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge after 4 iterations"):
        MLPClassifier(**{**BASE, "solver": "lbfgs"}).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(4\) reached"):
        MLPClassifier(**{**BASE, "n_iter_no_change": np.inf}).fit(X, y)  # as scikit-learn does
    MLPClassifier(**BASE, learning_rate="cosine").fit(X, y)  # no warning, because the schedule ends with the last epoch


@pytest.mark.filterwarnings("error")
def test_batch_size_larger_than_the_number_of_rows_warns() -> None:
    X, y = digits(50)
    with pytest.warns(UserWarning, match="batch_size 64 is larger than the 50 rows") as caught:
        MLPClassifier(**BASE, learning_rate="cosine").fit(X, y)
    assert caught[0].filename == __file__, "the warning must name the file that calls fit"
