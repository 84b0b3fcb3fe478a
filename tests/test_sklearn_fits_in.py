"""The estimators work in scikit-learn's pipelines, searches and ensembles, and refuse wrong arguments."""

from __future__ import annotations

import doctest
import pickle
import subprocess
import sys
from functools import partial
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier, BaggingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import fusedstep as fs
import fusedstep.sklearn
from fusedstep.sklearn import MLPClassifier, MLPRegressor

# These tests train for a few epochs only, so the estimators warn that the training has not converged.
pytestmark = pytest.mark.filterwarnings("ignore:Maximum iterations:sklearn.exceptions.ConvergenceWarning")

X, y = load_breast_cancer(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
SMALL: dict[str, Any] = {"hidden_layer_sizes": (8,), "max_iter": 8, "learning_rate_init": 0.01, "batch_size": 32,
                         "random_state": 0, "n_iter_no_change": np.inf}  # fmt: skip


def small(**options: Any) -> MLPClassifier:
    return MLPClassifier(**{**SMALL, **options})


GRID = {"dropout": [0.0, 0.2], "solver": ["AdamW", "nag"], "learning_rate": ["cosine"]}
AROUND: dict[str, Any] = {
    "pipeline": make_pipeline(StandardScaler(), small(batch_norm=True)),
    "grid search": GridSearchCV(small(), GRID, cv=2),
    "random search": RandomizedSearchCV(small(), GRID, n_iter=2, cv=2, random_state=0),
    "halving search": HalvingGridSearchCV(small(), GRID, resource="max_iter", max_resources=8, min_resources=2, cv=2),
    "bagging": BaggingClassifier(small(dropout=0.1), n_estimators=3, random_state=0),
    "boosting": AdaBoostClassifier(small(), n_estimators=3, random_state=0),
    "calibrated": CalibratedClassifierCV(small(label_smoothing=0.1), cv=2),
}


@pytest.mark.parametrize("name", AROUND)
def test_classifiers_work_inside_pipelines_searches_and_ensembles(name: str) -> None:
    """The fitted model is accurate, and predicts the same after pickling."""
    model = AROUND[name].fit(X, y)
    assert model.score(X, y) > 0.94
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_regressor_works_inside_bagging_and_classifier_works_inside_multi_output_and_cross_validation() -> None:
    data, target = load_diabetes(return_X_y=True)
    regressor = MLPRegressor(**{**SMALL, "hidden_layer_sizes": (16,), "max_iter": 30})
    assert (
        BaggingRegressor(regressor, n_estimators=2, random_state=0)
        .fit(data * 20, target / 100)
        .score(data * 20, target / 100)
        > 0.3
    )
    labels = np.stack([y, X[:, 0] > 0], axis=1)
    assert MultiOutputClassifier(small()).fit(X, labels).score(X, labels) > 0.9
    assert cross_val_score(small(), X, y, cv=3).mean() > 0.94


@pytest.fixture
def workers() -> Any:
    """Let joblib use two worker processes, and stop them after the test."""
    with joblib.parallel_config("loky", n_jobs=2):
        yield
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


@pytest.mark.filterwarnings("ignore")  # warnings of processes that joblib starts
def test_estimators_in_worker_processes_accept_read_only_arrays_and_give_the_results_of_this_process(
    workers: Any,
) -> None:
    """Fitted weights and predicted probabilities are compared, bit by bit."""
    large = np.tile(X, (8, 1))  # so large that joblib passes it to the workers as a read-only memory map
    here = [small(dropout=0.1, dtype=dtype).fit(large, np.tile(y, 8)) for dtype in ("float32", "float64")]
    there = joblib.Parallel(max_nbytes=1000)(
        joblib.delayed(_fit)(large, np.tile(y, 8), dtype) for dtype in ("float32", "float64")
    )
    for a, b in zip(here, there, strict=True):
        assert all(np.array_equal(p, q) for p, q in zip(a.coefs_, b.coefs_, strict=True))
    probabilities = joblib.Parallel(max_nbytes=1000)(joblib.delayed(_ask)(a, large) for a in here)
    assert all(np.array_equal(p, a.predict_proba(large)) for p, a in zip(probabilities, here, strict=True))


def _fit(rows: Any, labels: Any, dtype: str) -> Any:
    assert not rows.flags.writeable
    return small(dropout=0.1, dtype=dtype).fit(rows, labels)


def _ask(model: Any, rows: Any) -> Any:
    return model.predict_proba(rows)


def test_fitted_weights_do_not_depend_on_the_number_of_threads_and_the_instruction_set() -> None:
    options = {"hidden_layer_sizes": (64, 64), "max_iter": 1, "dropout": 0.2, "batch_norm": True}
    first = small(**options).fit(X, y)
    for threads, isa in ((1, "v3"), (2, "v2")):
        fs.set_num_threads(threads), fs.set_isa(isa)
        again = small(**options).fit(X, y)
        assert all(np.array_equal(p, q) for p, q in zip(first.coefs_, again.coefs_, strict=True))


def test_losses_with_a_penalty_on_the_weights_are_equal_with_one_and_two_blas_threads() -> None:
    options = {"hidden_layer_sizes": (256, 256), "batch_size": 64, "max_iter": 2, "alpha": 1.0}
    losses = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            losses.append(small(**options).fit(X[:128], y[:128]).loss_curve_)
    assert losses[0] == losses[1]


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"solver": "adm"}, r"solver must be one of lbfgs, .*, or a function that returns an optimizer; got 'adm'"),
    ({"solver": lambda groups: 3}, "solver must return a fusedstep optimizer, made .*; got 3"),
    (
        {"solver": partial(fs.Adam, lr=0.1), "learning_rate": "cosine"},
        "if solver is a function, learning_rate must be 'constant' and .*; got learning_rate='cosine'",
    ),
    (
        {"solver": partial(fs.Adam, lr=0.1), "ema_decay": 0.9},
        "ema_decay must not be set if solver is a function, .*; got ema_decay=0.9",
    ),
    (
        {"solver": "lbfgs", "dropout": 0.5},
        "solver='lbfgs' uses the gradient of all rows and does not support dropout; got dropout=0.5",
    ),
    (
        {"solver": "sgd", "solver_params": {"amsgrad": True}},
        r"solver_params must have only these arguments of SGD: .* num_threads, .*seed; got 'amsgrad'",
    ),
    (
        {"solver_params": {"weight_decay": 0.1}},
        "solver_params must not have weight_decay, which is a parameter of the estimator",
    ),
    ({"solver_params": {"betas": (2, 3)}}, r"Adam: groups\[0\]: betas\[0\] must be at least 0"),
    ({"dropout": 1.0}, r"The 'dropout' parameter of MLPClassifier must be a float in the range \[0.0, 1.0\). Got 1.0"),
    ({"activation": "selu"}, "The 'activation' parameter of MLPClassifier must be a str among"),
    ({"learning_rate": "cosin"}, "The 'learning_rate' parameter of MLPClassifier must be"),
    ({"hidden_layer_sizes": (8, 0)}, r"hidden_layer_sizes must be integers > 0, got \(8, 0\)"),
    ({"hidden_layer_sizes": (8, 2.5)}, r"hidden_layer_sizes must be integers > 0, got \(8, 2.5\)"),
    ({"hidden_layer_sizes": (), "batch_norm": True}, "batch_norm needs hidden layers"),
    ({"batch_norm": True, "batch_size": 1}, "batch_norm needs batch_size >= 2; got 1"),
    ({"batch_norm": True, "pretraining": {}}, "pretraining needs batch_norm=False"),
    ({"pretraining": {"epoch": 3}}, "pretrain: a setting must be one of epochs, .*; got 'epoch'"),
    (
        {"sparsity": 0.1, "sparsity_penalty": "kl"},
        "activation must be 'logistic' with sparsity_penalty='kl', .*; got 'relu'",
    ),
    ({"snapshots": 3}, "snapshots need learning_rate='cosine_restarts', .*; got 'constant'"),
    ({"snapshots": 3, "early_stopping": True}, "snapshots does not support early_stopping"),
    (
        {"solver": "lbfgs", "scoring": "roc_auc"},
        "solver='lbfgs' uses the gradient of all rows and does not support scoring",
    ),
    ({"solver": "lbfgs", "learning_rate": "cosine"}, "solver='lbfgs' has no learning rate; got learning_rate='cosine'"),
    ({"scoring": "roc_auc"}, "scoring needs validation rows: .* call fit with X_val and y_val; got scoring='roc_auc'"),
    ({"scoring": lambda model, X, y: "a", "early_stopping": True}, "scoring must return a number; got 'a'"),
    ({"scoring": lambda model, X, y: np.nan, "early_stopping": True}, "score must not be nan after every epoch"),
    (
        {"validation_fraction": 0.0, "early_stopping": True},
        "validation_fraction must be above 0 if no X_val is given",
    ),
    ({"callbacks": [3]}, r"callbacks must be functions of \(estimator, epoch\); got 3"),
    ({"class_weight": {0: -5, 1: 1}}, r"class_weight\[0\] must be at least 0; got -5"),
    ({"class_weight": {0: "a", 1: 1}}, r"class_weight\[0\] must be a number; got 'a'"),
    (
        {"class_weight": {0: 0, 1: 0}},
        r"class_weight times sample_weight must be above 0 for at least one row; got class_weight=\{0: 0, 1: 0\}",
    ),
    ({"class_weight": {0: 0, 1: 0}, "solver": "lbfgs"}, "class_weight times sample_weight must be above 0"),
    (
        {"weight_init": fs.init.he},
        r"Linear: weight_init must be a function of \(shape, rng, dtype\), such as the result of init.he\(\)",
    ),
    ({"learning_rate_init": 1e200, "solver": "sgd"}, "Training diverged: the loss of step .* is not finite"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_estimator_refuses_wrong_parameters_and_names_them(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        small(**options).fit(X, y)


def test_methods_of_estimators_refuse_wrong_arguments_and_name_them() -> None:
    model = small(dropout=0.2).fit(X, y)
    with pytest.raises(ValueError, match="X_val and y_val must be given together"):
        small().fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="X_val, y_val: X has 3 features, but MLPClassifier is expecting 30"):
        small().fit(X, y, X_val=X[:, :3], y_val=y)
    with pytest.raises(ValueError, match=r"X_val, y_val: `y` has classes not in `self\.classes_`"):
        small().fit(X, y, X_val=X, y_val=y + 1)
    with pytest.raises(ValueError, match="mc_samples needs a network with dropout above 0"):
        small().fit(X, y).predict_proba(X, mc_samples=3)
    for k in (0, -1):
        with pytest.raises(ValueError, match=rf"^mc_samples must be at least .*; got {k}"):
            model.predict_proba(X, mc_samples=k)
    with pytest.raises(ValueError, match="X_val must be None with solver='lbfgs', which has no epochs"):
        small(solver="lbfgs").fit(X, y, X_val=X, y_val=y)
    with pytest.raises(ValueError, match="return_std needs mc_samples"):
        model.predict_proba(X, return_std=True)
    with pytest.raises(
        ValueError,
        match="class_weight must be a dict for partial_fit, which gets only a part of the rows; got 'balanced'",
    ):
        small(class_weight="balanced").partial_fit(X, y, classes=[0, 1])
    with pytest.raises(
        ValueError,
        match=r"class_weight times sample_weight must be above 0 for at least one row; got class_weight=\{1: 0\}",
    ):
        small(class_weight={1: 0}).fit(X, y, sample_weight=y)
    with pytest.raises(AttributeError, match="partial_fit"):
        small(solver="lbfgs").partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match=r"hidden_layer_sizes must stay \(8,\), its value when .*; got \(9,\)"):
        model.set_params(hidden_layer_sizes=(9,)).partial_fit(X, y)
    with pytest.raises(ValueError, match="loss='poisson' needs y >= 0; got -1"):
        MLPRegressor("poisson", (8,)).fit(X, y - 1)
    with pytest.raises(AttributeError, match="no coefs_ before fit"):
        _ = small().coefs_


def test_partial_fit_with_batch_norm_refuses_a_batch_of_one_row() -> None:
    with pytest.raises(ValueError, match=r"BatchNorm|batch_norm"):
        small(batch_norm=True).partial_fit(X[:1], y[:1], classes=[0, 1])


def test_ctrl_c_ends_a_fit_and_the_estimator_keeps_the_weights_learned_so_far() -> None:
    """Python raises KeyboardInterrupt after Ctrl-C. In this test, a callback raises it after the first epoch."""

    def interrupt(model: Any, epoch: Any) -> None:
        raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = small(callbacks=[interrupt]).fit(X, y)
    assert model.n_iter_ == 1
    assert model.score(X, y) > 0.8


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_docstring_examples_run(name: str) -> None:
    estimator = getattr(fusedstep.sklearn, name)
    test = doctest.DocTestFinder().find(estimator, name, module=False)
    assert [example for found in test for example in found.examples]
    for found in test:
        assert doctest.DocTestRunner().run(found).failed == 0


def test_import_error_without_scikit_learn_gives_the_pip_command() -> None:
    code = "import sys; sys.modules['sklearn'] = None\nimport fusedstep.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "the package scikit-learn is missing: pip install 'fusedstep[sklearn]'" in done.stderr


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"class_weight": {5: -1}}, {"y": y + 5}),
        ({"class_weight": {5: -1}}, {"X": X[:, :3], "y": y + 5}),
        ({}, {"y": y + 5, "sample_weight": -np.ones(len(y))}),
        ({}, {"y": y + 5, "X_val": X, "y_val": y + 7}),
        ({"weight_init": fs.init.he}, {"y": y + 5}),
    ],
)
def test_a_refused_fit_leaves_the_previous_fit_unchanged(options: dict[str, Any], rows: dict[str, Any]) -> None:
    """An estimator without a previous fit has no fitted attributes after a refused fit."""
    model = small().fit(X, y)
    before = model.predict(X)
    with pytest.raises((TypeError, ValueError)):
        model.set_params(**options).fit(**{"X": X, **rows})
    assert np.array_equal(model.predict(X), before)
    fresh = small(**options)
    with pytest.raises((TypeError, ValueError)):
        fresh.fit(**{"X": X, **rows})
    assert not [name for name in vars(fresh) if name.endswith("_")]
