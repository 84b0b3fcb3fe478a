"""Run one case: fit scikit-learn's estimator and ours, compare the weights, and time the fits in turn.

In a case that compares accuracies, cross-validate both estimators instead.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..common import ABSENT, missing, why
from ..harness import TOO_SLOW, Lines, Ratio, Sampling, Timing, measure, ratio_interval
from .cases import ACCURACY_EPOCHS, EPOCHS, FOLDS, OURS, OURS_FLOAT32, THEIRS, Case

# largest allowed difference of our weights from scikit-learn's after a fit / number of epochs
ROUNDING = {OURS: 1e-6, OURS_FLOAT32: 1e-2}


@dataclass
class Line:
    """The results of one implementation in one case. `status` is "timed", or the reason why there is no result."""

    name: str
    status: str = "timed"
    seconds: float | None = None  # time of one training step of a fit, or of a whole cross-validation
    accuracy: float | None = None
    error: float | None = None  # largest difference of the weights from scikit-learn's
    over_ours: Ratio | None = None
    repeats: int = 0
    samples: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"mine": self.name == OURS}


@dataclass
class CaseResult(Lines[Line]):
    case: Case
    lines: list[Line]

    def as_dict(self) -> dict[str, Any]:
        case = self.case
        known = {"name": case.name, "what": case.describe(), "elements": case.elements, "bytes_per_element": 0}
        return known | {"yardstick": THEIRS, "lines": [line.as_dict() for line in self.lines]}


class Fit:
    """A fit that can be repeated. `harness.measure` calls and times `step`."""

    refill = None

    def __init__(self, model: Any, x: Any, y: Any) -> None:
        self.model, self.x, self.y = model, x, y

    def step(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn warns that the fit has not converged
            self.model.fit(self.x, self.y)


def run_case(case: Case, plan: Sampling) -> CaseResult:
    names = [THEIRS, OURS, *([OURS_FLOAT32] if case.dtype == "float64" else [])]
    result = CaseResult(case, [Line(name) for name in names])
    if absent := missing(["sklearn"]):
        for line in result.lines:
            line.status = f"{ABSENT}{', '.join(absent)}"
        return result
    (cross_validate if case.accuracy else time_fits)(result, plan)
    return result


def time_fits(result: CaseResult, plan: Sampling) -> None:
    case = result.case
    x, y = load(case)
    fits = {line.name: Fit(make(line.name, case, EPOCHS), x, y) for line in result.lines}
    for line in result.lines:
        check(line, fits)
    timings = measure({line.name: fits[line.name] for line in result.lines if line.status == "timed"}, plan)
    steps = EPOCHS * -(-len(x) // case.batch)
    for line in result.lines:
        if line.status == "timed" and line.name not in timings:
            line.status = TOO_SLOW
        if line.name in timings:
            line.samples = (timings[line.name].samples / steps).tolist()
            line.seconds, line.repeats = timings[line.name].median / steps, timings[line.name].repeats
            line.accuracy = float(fits[line.name].model.score(x, y))
    compare(result, timings)


def check(line: Line, fits: Mapping[str, Fit]) -> None:
    """Fit once, and check that the weights agree with scikit-learn's. Otherwise the line gets the status WRONG."""
    try:
        fits[line.name].step()
    except Exception as problem:
        line.status = why(problem)
        return
    if line.name == THEIRS:
        return
    pairs = zip(fits[line.name].model.coefs_, fits[THEIRS].model.coefs_, strict=True)
    line.error = max(float(np.abs(a - b).max()) for a, b in pairs)
    allowed = ROUNDING[line.name] if fits[THEIRS].x.dtype == np.float64 else ROUNDING[OURS_FLOAT32]
    if not line.error <= allowed * EPOCHS:
        line.status = f"WRONG: weights differ from scikit-learn's by {line.error:.2g}"


def compare(result: CaseResult, timings: Mapping[str, Timing]) -> None:
    for line in result.lines:
        if line.name in timings and OURS in timings:
            line.over_ours = ratio_interval(timings[line.name].samples, timings[OURS].samples)


def cross_validate(result: CaseResult, plan: Sampling) -> None:
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = load(result.case)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    for line in result.lines:
        model = make_pipeline(StandardScaler(), make(line.name, result.case, ACCURACY_EPOCHS))
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            line.accuracy = float(cross_val_score(model, x, y, cv=folds).mean())
        line.seconds, line.repeats = time.perf_counter() - start, 1


def make(name: str, case: Case, epochs: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    import fusedstep.sklearn

    kind: Any = MLPClassifier if name == THEIRS else fusedstep.sklearn.MLPClassifier
    own = {"dtype": "float32"} if name == OURS_FLOAT32 else {}
    return kind(case.hidden, batch_size=case.batch, max_iter=epochs, n_iter_no_change=np.inf, random_state=0, **own)


def load(case: Case) -> tuple[Any, Any]:
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{case.data}")(return_X_y=True)
    return np.ascontiguousarray(x / np.abs(x).max(axis=0, initial=1e-9), case.dtype), y
