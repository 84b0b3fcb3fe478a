"""Compute the scores of predictions, as plain data and as lines to print."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .._base.optional import need

Array = npt.NDArray[Any]
Scores = dict[str, Any]  # JSON data

BINS = 10  # number of bins of the calibration
COVERED = 0.9  # the share of rows that prediction intervals should cover


def score_classes(classes: list[Any], labels: Array, p: Array, known: Array) -> Scores:
    """Return the scores of a classification, computed from the predicted probabilities.

    Parameters
    ----------
    classes : list
        All classes.
    labels : ndarray of integers, shape (n,)
        The right class of each row, as an index of `classes`.
    p : ndarray, shape (n, len(classes))
        The predicted probabilities of the classes, for the same rows.
    known : ndarray of integers
        The right class of each training row, as an index of `classes`. The trivial baseline is computed from these.
    """
    metrics = need("sklearn.metrics", "scikit-learn")
    found, every = p.argmax(axis=1), list(range(len(classes)))
    parts = metrics.precision_recall_fscore_support(labels, found, labels=every, zero_division=0)
    dummy = (
        need("sklearn.dummy", "scikit-learn").DummyClassifier(strategy="prior").fit(np.zeros((len(known), 1)), known)
    )
    baseline = np.zeros_like(p)
    baseline[:, dummy.classes_] = dummy.predict_proba(np.zeros((len(labels), 1)))
    return {
        "rows": len(labels),
        **_of_probabilities(labels, p),
        **_calibration(labels, p),
        "baseline": {"what": f"always {classes[int(baseline[0].argmax())]}", **_of_probabilities(labels, baseline)},
        "classes": [
            {"class": name, "precision": float(a), "recall": float(b), "f1": float(c), "rows": int(d)}
            for name, a, b, c, d in zip(classes, *parts, strict=True)
        ],
        "confusion": metrics.confusion_matrix(labels, found, labels=every).tolist(),
    }


def _of_probabilities(labels: Array, p: Array) -> Scores:
    found, rows = p.argmax(axis=1), np.arange(len(labels))
    recalls = [np.mean(found[labels == label] == label) for label in np.unique(labels)]
    truth = np.zeros_like(p)
    truth[rows, labels] = 1
    tiny = np.finfo(p.dtype).tiny
    return {
        "accuracy": float(np.mean(found == labels)),
        "balanced_accuracy": float(np.mean(recalls)),
        "log_loss": float(-np.mean(np.log(np.maximum(p[rows, labels], tiny), dtype=np.float64))),
        "brier": float(np.mean(np.sum((p - truth) ** 2, axis=1))),
    }


def _calibration(labels: Array, p: Array) -> Scores:
    """Return the calibration error, and the calibration curve, which has an entry for each bin that contains rows.

    The bin of a row depends on the probability of its predicted class. Bins have equal widths. Each entry has the mean
    probability and the share of right predictions. The error is the mean of the absolute differences of these two
    numbers over all entries. In this mean, the weight of an entry is the number of rows in its bin.
    """
    sure, right = p.max(axis=1), p.argmax(axis=1) == labels
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    curve = [
        {"probability": float(sure[bins == b].mean()), "right": float(right[bins == b].mean()), "rows": int(n)}
        for b, n in enumerate(np.bincount(bins, minlength=BINS))
        if n
    ]
    error = sum(part["rows"] * abs(part["probability"] - part["right"]) for part in curve) / len(labels)
    return {"calibration_error": error, "calibration": curve}


def score_values(target: Array, found: Array, known: Array, error: float | None) -> Scores:
    """Return the scores of a regression, computed from the predicted values.

    Parameters
    ----------
    target, found : ndarray, shape (n,)
        The true values and the predicted values.
    known : ndarray
        The targets of the training rows. The trivial baseline always predicts their mean.
    error : float, optional
        Half the width of the prediction intervals. If it is given, the scores contain the share of true values that are
        in these intervals.
    """
    scores: Scores = {"rows": len(target), **_of_values(target, found)}
    if error is not None:
        covered = float(np.mean(np.abs(found - target) <= error))
        scores["interval"] = {"meant_for": COVERED, "half_width": error, "covered": covered}
    dummy = need("sklearn.dummy", "scikit-learn").DummyRegressor(strategy="mean").fit(np.zeros((len(known), 1)), known)
    mean = dummy.predict(np.zeros((len(target), 1)))
    return scores | {"baseline": {"what": f"always the mean {mean[0]:.6g}", **_of_values(target, mean)}}


def _of_values(target: Array, found: Array) -> Scores:
    wrong = found - target
    spread = float(np.sum((target - target.mean()) ** 2))
    return {
        "r2": 1.0 - float(np.sum(wrong**2)) / spread if spread > 0 else None,
        "rmse": math.sqrt(float(np.mean(wrong**2))),
        "mae": float(np.mean(np.abs(wrong))),
        "median_absolute_error": float(np.median(np.abs(wrong))),
    }


def interval_error(target: Array, found: Array) -> float:
    """Return half the width of the prediction interval for a new row, from the targets and predictions of n rows.

    The result is the k-th smallest of the n absolute errors, with k = ceil((n + 1) COVERED), but at most n, as in split
    conformal prediction. COVERED is the share of rows that prediction intervals should cover.
    """
    errors = np.sort(np.abs(found - target))
    place = min(math.ceil((len(errors) + 1) * COVERED), len(errors))
    return float(errors[place - 1])


def summary(scores: Scores, unit: str) -> list[tuple[str, str]]:
    """Return the most important scores as names and values. `unit` is the name of the target."""
    base, rows = scores["baseline"], scores["rows"]
    if "accuracy" in scores:
        return [
            ("accuracy", f"{scores['accuracy']:.4f} on {rows} rows"),
            ("balanced accuracy", f"{scores['balanced_accuracy']:.4f} (the mean of the classes' recalls)"),
            ("log loss", f"{scores['log_loss']:.4f}, Brier score {scores['brier']:.4f}"),
            (
                "calibration",
                f"probability and share of right predictions differ by {scores['calibration_error']:.3f} on average",
            ),
            (
                "trivial baseline",
                f"accuracy {base['accuracy']:.4f}, balanced {base['balanced_accuracy']:.4f} ({base['what']})",
            ),
        ]
    r2 = {k: "undefined" if s["r2"] is None else f"{s['r2']:.4f}" for k, s in (("own", scores), ("base", base))}
    lines = [
        ("R^2", f"{r2['own']} on {rows} rows"),
        ("RMSE", f"{scores['rmse']:.6g} (units of {unit})"),
        ("MAE", f"{scores['mae']:.6g}, median {scores['median_absolute_error']:.6g} (units of {unit})"),
    ]
    if "interval" in scores:
        width, covered = scores["interval"]["half_width"], scores["interval"]["covered"]
        share = f"it contains the target of {covered:.1%} of these rows"
        lines.append(("90 % interval", f"the prediction +- {width:.6g}; {share}"))
    base_text = f"R^2 {r2['base']}, RMSE {base['rmse']:.6g}, MAE {base['mae']:.6g} ({base['what']})"
    return [*lines, ("trivial baseline", base_text)]


def class_table(scores: Scores) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of the table of scores per class."""
    rows = [
        [str(c["class"]), *(f"{c[name]:.4f}" for name in ("precision", "recall", "f1")), str(c["rows"])]
        for c in scores["classes"]
    ]
    return ["class", "precision", "recall", "F1", "rows"], rows
