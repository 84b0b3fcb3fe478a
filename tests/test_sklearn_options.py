"""The estimators' options that scikit-learn's estimators do not have."""

from __future__ import annotations

import copy
import pickle
import threading
from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits

import fusedstep as fs
from fusedstep import init, nn, schedules
from fusedstep.sklearn import MLPClassifier, MLPRegressor, _augment

# These tests train for a few epochs only, so the estimators warn that the training has not converged.
pytestmark = pytest.mark.filterwarnings("ignore:Maximum iterations:sklearn.exceptions.ConvergenceWarning")

BASE = {"hidden_layer_sizes": (16,), "max_iter": 3, "random_state": 0, "batch_size": 32, "n_iter_no_change": np.inf}
ALL = load_digits(return_X_y=True)
X, y = ALL[0][:300] / 16, ALL[1][:300]
V, v = ALL[0][300:500] / 16, ALL[1][300:500]

EXTRAS: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": 0.3},
    "batch norm": {"batch_norm": True},
    "batch norm, tanh": {"batch_norm": True, "activation": "tanh", "dropout": 0.1},
    "hard tanh": {"activation": "hard_tanh"},
    "solver params": {"solver_params": {"amsgrad": True}},
    "solver as a class": {"solver": fs.Lion},
    "solver as a function": {"solver": partial(fs.RMSprop, lr=0.01, momentum=0.5, weight_decay=1e-3)},
    "elastic net": {"alpha": 0.1, "l1_ratio": 0.5},
    "proximal": {"alpha": 0.5, "l1_ratio": 1.0, "decay": "proximal"},
    "clipped gradients": {"clip_norm": 0.5},
    "warm-up": {"warmup": 5},
    "averaged weights": {"ema_decay": 0.9},
    "label smoothing": {"label_smoothing": 0.2},
    "sparsity": {"sparsity": 1e-2},
    "student t sparsity": {"sparsity": 1e-2, "sparsity_penalty": "student_t"},
    "kl sparsity": {"sparsity": 1e-2, "sparsity_penalty": "kl", "activation": "logistic"},
    "pre-training": {"pretraining": {"epochs": 2, "keep": 2, "candidates": [{}, {"lr": 1e-2}]}},
    "input noise": {"input_noise": 0.1},
    "weight noise": {"weight_noise": 0.01},
    "mixup": {"mixup": 0.3},
    "snapshots": {"learning_rate": "cosine_restarts", "snapshots": 3},
    "class weight": {"class_weight": {0: 3.0}},
    "initialisation": {"weight_init": init.he(), "bias_init": init.zeros()},
    "float32": {"dtype": "float32"},
    "bfloat16 state": {"dtype": "float32", "solver_params": {"state_dtype": "bfloat16"}},
    "uint8 state": {"dtype": "float32", "solver_params": {"state_dtype": "uint8", "seed": 3}},
    "plateau schedule": {"learning_rate": schedules.ReduceOnPlateau(0.02, patience=0)},
}


LEARNING = {**BASE, "max_iter": 20, "learning_rate_init": 0.01}


def fitted(kind: Any = MLPClassifier, **options: Any) -> Any:
    return kind(**{**BASE, **options}).fit(X, y)


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(p, q) for p, q in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True))


@pytest.fixture(scope="module")
def plain() -> Any:
    return fitted()


@pytest.mark.parametrize("name", EXTRAS)
def test_option_changes_the_fit_but_repeating_or_pickling_the_fit_changes_nothing(name: str, plain: Any) -> None:
    """Each option, except "float32", changes the probabilities by more than rounding. `plain` is a fit without options.

    After `partial_fit`, the fitted estimator and its pickled copy still give equal results.
    """
    model, again = fitted(**EXTRAS[name]), fitted(**EXTRAS[name])
    p = model.predict_proba(V)
    assert same(model, again) and np.array_equal(p, again.predict_proba(V))
    assert not np.allclose(p, plain.predict_proba(V), atol=1e-6) or name == "float32"
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    back = pickle.loads(pickle.dumps(model))
    assert np.array_equal(back.predict_proba(V), p)
    for other in (model, back):  # pickle keeps the weights, the optimizer states and the random streams
        other.partial_fit(X[:64], y[:64])
    assert same(model, back)
    assert np.array_equal(model.predict_proba(V), back.predict_proba(V))


@pytest.mark.parametrize(
    "name", ["dropout", "batch norm", "elastic net", "averaged weights", "pre-training", "mixup", "snapshots"]
)
@pytest.mark.parametrize("targets", [y > 4, np.stack([y > 4, y % 2], axis=1)])
def test_options_work_with_two_classes_and_with_two_labels_per_row(name: str, targets: Any) -> None:
    model = MLPClassifier(**{**LEARNING, **EXTRAS[name]}, label_smoothing=0.1).fit(X, targets)
    assert model.score(X, targets) > 0.9 and model.predict(X).shape == targets.shape


@pytest.mark.parametrize("name", sorted(set(EXTRAS) - {"label smoothing", "class weight", "kl sparsity"}))
def test_options_work_for_a_regression(name: str) -> None:
    """The score is good, and each option, except "float32", changes the predictions by more than rounding."""
    data, target = load_diabetes(return_X_y=True)
    model, plain = (MLPRegressor(**{**LEARNING, **more}).fit(data * 20, target / 100) for more in (EXTRAS[name], {}))
    assert model.score(data * 20, target / 100) > 0.4
    assert not np.allclose(model.predict(data * 20), plain.predict(data * 20), atol=1e-3) or name == "float32"


@pytest.mark.parametrize("solver", fs.optim.registry)
def test_solver_is_found_by_name_in_upper_case(solver: str) -> None:
    """With learning_rate_init="auto", the training reduces the loss."""
    model = fitted(solver=solver.upper(), learning_rate_init="auto", max_iter=10)
    assert type(model._optimizer) is fs.optim.registry[solver]
    assert model.loss_ < model.loss_curve_[0]


@pytest.mark.parametrize("name", schedules.NAMES)
def test_every_learning_rate_schedule_is_found_by_name(name: str) -> None:
    """The callback gets the rate after each epoch of 10 steps. For "plateau", only 0 <= rate <= 0.01 is checked."""
    rates: list[float] = []
    fitted(learning_rate=name, learning_rate_init=0.01, callbacks=[lambda _, e: rates.append(e.learning_rate)])
    assert len(rates) == 3 and all(0 <= rate <= 0.01 for rate in rates)
    eta = schedules.named(name, 0.01, 30)
    assert name == "plateau" or rates == [eta(t) for t in (10, 20, 30)]


def test_loss_with_alpha_and_l1_ratio_includes_the_elastic_net_penalty() -> None:
    """With batch_size=300, an epoch is one step. The learning rate is so small that the weights hardly change."""
    model = fitted(alpha=0.0, max_iter=1, batch_size=300, shuffle=False, learning_rate_init=1e-12)
    l1, squares = sum(np.abs(w).sum() for w in model.coefs_), sum((w**2).sum() for w in model.coefs_)
    both = fitted(alpha=0.7, l1_ratio=0.2, max_iter=1, batch_size=300, shuffle=False, learning_rate_init=1e-12)
    assert both.loss_ - model.loss_ == pytest.approx(0.7 * (0.2 * l1 + 0.8 / 2 * squares) / 300)


def test_proximal_decay_makes_some_weights_exactly_zero_and_l2_decay_makes_none() -> None:
    options = {"solver": "sgd", "learning_rate_init": 0.1, "alpha": 0.05, "l1_ratio": 1.0, "max_iter": 10}
    zeros = [np.mean(fitted(decay=decay, **options).coefs_[0] == 0) for decay in ("l2", "proximal")]
    assert zeros[0] == 0 and zeros[1] > 0.02


def test_coefs_of_an_estimator_with_ema_decay_are_the_averaged_weights_not_the_last_weights() -> None:
    model = fitted(ema_decay=0.9)
    assert np.array_equal(model.coefs_[0], model._optimizer.ema["0.weight"])
    assert not np.array_equal(model.coefs_[0], model._model.params["0.weight"])


def test_predicted_probabilities_are_the_mean_over_the_snapshots() -> None:
    """A snapshot is a copy of the network at the end of a cycle of the learning rate. Here, a cycle is one epoch."""
    model = fitted(learning_rate="cosine_restarts", learning_rate_init=0.01, snapshots=3)
    assert len(model._models) == 3
    each = [nn.softmax(member.predict(V)) for member in model._models]
    np.testing.assert_allclose(model.predict_proba(V), np.mean(each, axis=0))
    one_epoch = fitted(learning_rate=schedules.cosine_restarts(0.01, 10), max_iter=1)
    assert np.array_equal(model._models[0].params["0.weight"], one_epoch.coefs_[0])


def test_predictions_with_several_dropout_masks_are_reproducible_and_have_a_standard_deviation() -> None:
    """The 100 rows with the least certain predictions have a lower accuracy than the other 100 rows."""
    model = fitted(dropout=0.3, max_iter=15, learning_rate_init=0.01)
    p, std = model.predict_proba(V, mc_samples=30, return_std=True)
    assert np.array_equal(p, model.predict_proba(V, mc_samples=30))
    assert not np.array_equal(p, model.predict_proba(V))
    np.testing.assert_allclose(p.sum(axis=1), 1)
    correct = model.classes_[p.argmax(axis=1)] == v
    by_confidence = np.argsort(p.max(axis=1))
    assert correct[by_confidence[100:]].mean() > correct[by_confidence[:100]].mean() + 0.1
    assert (std > 0).all()
    binary = MLPClassifier(**BASE, dropout=0.3).fit(X, y > 4)
    p, std = binary.predict_proba(V, mc_samples=5, return_std=True)
    assert p.shape == std.shape == (200, 2)
    assert np.array_equal(std[:, 0], std[:, 1])


def test_class_weights_give_the_same_fit_as_sample_weights_with_the_same_values() -> None:
    """With "balanced" and two classes, the weight of a class is (all rows) / (2 * rows of this class)."""
    weights = np.where(y == 3, 5.0, 1.0)
    assert same(fitted(class_weight={3: 5.0}), MLPClassifier(**BASE).fit(X, y, weights))
    few = y < 2
    counts = np.bincount(y[few])
    balanced = MLPClassifier(**BASE, class_weight="balanced").fit(X[few], y[few])
    assert same(balanced, MLPClassifier(**BASE).fit(X[few], y[few], few.sum() / (2 * counts[y[few]])))


def test_validation_rows_given_to_fit_are_scored_and_early_stopping_restores_the_best_weights() -> None:
    """Without early stopping, the scores do not change the fit."""
    options = {"max_iter": 12, "learning_rate_init": 0.05, "early_stopping": True, "n_iter_no_change": 2}
    model = MLPClassifier(**{**BASE, **options}).fit(X, y, X_val=V, y_val=v)
    assert model.best_validation_score_ == max(model.validation_scores_) == pytest.approx(model.score(V, v))
    assert model.n_iter_ == len(model.validation_scores_) == len(model.loss_curve_)
    without_stopping = MLPClassifier(**BASE).fit(X, y, X_val=V, y_val=v)
    assert same(without_stopping, fitted())
    assert len(without_stopping.validation_scores_) == 3


@pytest.mark.parametrize("scoring", ["neg_log_loss", "f1_macro", lambda model, X, y: -model.predict_proba(X).max()])
def test_early_stopping_accepts_any_scorer(scoring: Any) -> None:
    model = fitted(early_stopping=True, scoring=scoring, max_iter=4)
    assert len(model.validation_scores_) == 4
    assert model.best_validation_score_ == max(model.validation_scores_)


def test_early_stopping_with_scoring_does_not_warn_about_feature_names() -> None:
    """In these tests, a warning is an error."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    model = MLPClassifier(**BASE, early_stopping=True, scoring="accuracy").fit(frame, y)
    assert list(model.feature_names_in_) == list(frame.columns)


def test_partial_fit_stops_early_and_warns_if_it_is_called_after_the_stop() -> None:
    """After the stop, the weights with the best validation score are restored, and another call changes nothing.

    Without validation rows, early stopping is refused.
    """
    model = MLPClassifier(**{**BASE, "n_iter_no_change": 1, "learning_rate_init": 0.1}, early_stopping=True)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True without X_val and y_val"):
        model.partial_fit(X, y, classes=np.arange(10))
    for _ in range(40):
        model.partial_fit(X, y, classes=np.arange(10), X_val=V, y_val=v)
        if model._stopping.stop:
            break
    assert model._stopping.stop and model.score(V, v) == model.best_validation_score_
    before = copy.deepcopy(model)
    with pytest.warns(UserWarning, match="Early stopping has ended the training"):
        model.partial_fit(X, y, X_val=V, y_val=v)
    assert same(model, before)


def test_callbacks_run_after_every_epoch_and_may_end_the_training() -> None:
    """The callback returns True after the second epoch."""
    heard: list[Any] = []

    def callback(model: Any, epoch: Any) -> bool:
        heard.append((model, epoch))
        return len(heard) == 2

    model = fitted(callbacks=[callback])
    assert [epoch.number for _, epoch in heard] == [1, 2]
    assert model.n_iter_ == 2
    assert heard[1][0] is model
    assert heard[1][1].loss == model.loss_ and heard[1][1].score is None


def test_verbose_prints_a_line_per_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    model = fitted(verbose=True, early_stopping=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["Iteration 1", "Iteration 2", "Iteration 3"]
    assert f"loss = {model.loss_:.8f}" in lines[-1] and "validation score" in lines[-1]


def test_verbose_draws_a_progress_bar_in_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FORCE_COLOR makes rich take the captured output for a terminal."""
    pytest.importorskip("rich")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    fitted(verbose=True)
    out = capsys.readouterr().out
    assert "3/3" in out and "Iteration" not in out


def test_rows_with_sample_weight_zero_do_not_change_the_fit() -> None:
    weights = (np.arange(300) % 3 > 0).astype(float)
    kept = weights > 0
    assert same(MLPClassifier(**BASE).fit(X, y, weights), MLPClassifier(**BASE).fit(X[kept], y[kept], weights[kept]))


def test_assignment_to_coefs_changes_the_predictions_of_the_network() -> None:
    """If all weights are 0, each of the ten classes has the probability 0.1. An array of another shape is refused."""
    model = fitted()
    before = model.predict_proba(V)
    model.coefs_[0] = model.coefs_[0] * 0
    assert not np.allclose(model.predict_proba(V), before)
    assert not model.coefs_[0].any()
    model.coefs_ = [w * 0 for w in model.coefs_]
    model.intercepts_ = [b * 0 for b in model.intercepts_]
    np.testing.assert_allclose(model.predict_proba(V), 0.1)
    with pytest.raises(ValueError, match=r"must keep its shape \(64, 16\); got \(3,\)"):
        model.coefs_[0] = np.zeros(3)


def test_several_threads_predict_the_same_as_one_thread() -> None:
    """Six Python threads share one model."""
    model = fitted(hidden_layer_sizes=(64, 64), max_iter=1)
    parts = [X[:100], X[100:200], X[200:]]
    expected, wrong = [model.predict_proba(part) for part in parts], []

    def predict(i: int) -> None:
        for _ in range(50):
            if not np.array_equal(model.predict_proba(parts[i]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=predict, args=(i % 3,)) for i in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong


def test_fit_does_not_change_the_schedule_that_is_a_parameter_of_the_estimator() -> None:
    """A clone of the fitted estimator therefore learns the same weights."""
    plateau = schedules.ReduceOnPlateau(0.01, patience=0, threshold=10.0)
    model = MLPClassifier(**BASE, learning_rate=plateau)
    before = plateau.state_dict()
    model.fit(X, y)
    assert plateau.state_dict() == before and model.learning_rate is plateau
    assert same(clone(model).fit(X, y), model)


def test_new_value_of_input_noise_takes_effect_in_a_fit_with_warm_start() -> None:
    plain, noisy = fitted(warm_start=True), fitted(warm_start=True)
    assert not same(plain.fit(X, y), noisy.set_params(input_noise=0.5).fit(X, y))


def test_validation_scores_during_a_second_fit_with_warm_start_use_the_current_weights() -> None:
    """The first fit ends with averaged weights. The validation scores of the second fit must not use these averages.

    In the second fit, a callback calls `score` after each epoch.

    Another estimator is trained by `partial_fit` only. Its `score` of the validation rows equals the recorded score.
    """
    model = fitted(warm_start=True, ema_decay=0.5).set_params(callbacks=[lambda m, e: m.score(V, v)])
    model.fit(X, y, X_val=V, y_val=v)
    assert len(set(model.validation_scores_)) > 1, "the scores must not be those of the averages of the first fit"
    model = MLPClassifier(**BASE).partial_fit(X, y, classes=np.arange(10))
    model.partial_fit(X, y, X_val=V, y_val=v)
    assert model.n_iter_ == 2 and model.validation_scores_ == [model.score(V, v)]


def test_partial_fit_continues_after_fit_has_stopped_early() -> None:
    model = fitted(early_stopping=True, n_iter_no_change=1, learning_rate_init=0.1, max_iter=40)
    before = len(model.loss_curve_)
    assert before < 40
    model.partial_fit(X, y, X_val=V, y_val=v)
    assert len(model.loss_curve_) == before + 1


@pytest.mark.parametrize("early", [True, False])
def test_early_stopping_can_be_turned_on_or_off_between_fit_and_partial_fit(early: bool) -> None:
    """If `early` is True, only `fit` uses early stopping, else only `partial_fit` uses it.

    After two calls of `partial_fit`, the best value of these two calls is in `best_loss_` if `early` is True, else in
    `best_validation_score_`. The other attribute is None.
    """
    model = fitted(early_stopping=early, n_iter_no_change=np.inf)
    model.set_params(early_stopping=not early)
    for _ in range(2):
        model.partial_fit(X, y, **({} if early else {"X_val": V, "y_val": v}))
    best = model.best_loss_ if early else model.best_validation_score_
    assert best == (min(model.loss_curve_[-2:]) if early else max(model.validation_scores_))
    assert (model.best_validation_score_ is None) == early
    assert (model.best_loss_ is None) == (not early)


def test_callback_that_returns_numpy_true_ends_the_training() -> None:
    assert fitted(callbacks=[lambda model, epoch: np.float64(epoch.loss) > 0]).n_iter_ == 1


def test_callback_that_returns_a_string_does_not_end_the_training() -> None:
    assert fitted(callbacks=[lambda model, epoch: f"epoch {epoch.number}"]).n_iter_ == 3


def test_mixup_mixes_sample_weights_as_it_mixes_rows() -> None:
    weights = np.arange(1.0, 9.0)
    batch = nn.Batch(weights[:, None], np.eye(8), weights)
    (mixed,) = _augment.augmented(iter([batch]), MLPClassifier(mixup=0.3), fs.Philox(0))
    np.testing.assert_allclose(mixed.weights, mixed.x[:, 0])
    assert not np.array_equal(mixed.weights, weights)
