"""Early stopping ends the training after `patience` metrics without improvement, and restores the best weights."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest

from fusedstep import nn
from fusedstep.schedules import ReduceOnPlateau
from fusedstep.stopping import EarlyStopping


def run(metrics: list[float], **options: Any) -> tuple[int, float]:
    """Observe the metrics in turn until `observe` returns True. When metric t (1, 2, ...) is observed, the weight is t.

    Return the number of the metric that stopped the training (0 if no metric did), and the weight after `restore`.
    """
    w = np.zeros(1)
    stopping = EarlyStopping([w], **options)
    stopped = 0
    for t, metric in enumerate(metrics, start=1):
        w[:] = t
        if stopping.observe(metric):
            stopped = t
            break
    stopping.restore()
    return stopped, float(w[0])


@pytest.mark.parametrize(
    ("metrics", "options", "expected"),
    [
        ([3, 2, 2, 2, 1], {"patience": 2}, (4, 2)),  # an equal metric is not better
        ([3, 2, 2, 2, 1], {"patience": 3}, (0, 5)),
        ([1, 2, 2, 3], {"patience": 2, "mode": "max"}, (0, 4)),
        ([1, 2, 2, 1], {"patience": 2, "mode": "max"}, (4, 2)),
        # 2.9 and 2.8 are better than the metric before, but by less than tol. So the training stops at 2.8, the third
        # metric. 2.8 is still the best metric. At this metric, the weight was 3, so the weight 3 is restored.
        ([3, 2.9, 2.8, 2.7], {"patience": 2, "tol": 0.5}, (3, 3)),
        ([math.nan, math.nan], {"patience": 2}, (2, 0)),  # without a best metric, the initial weights are restored
        ([math.nan, 5, math.nan, 4], {"patience": 2}, (0, 4)),
        ([math.inf, math.inf, 1], {"patience": 5}, (0, 3)),
        ([math.inf, math.inf, math.inf], {"patience": 2}, (3, 1)),
        ([5, 6, 7, 8], {"patience": None}, (0, 1)),
        ([], {}, (0, 0)),
    ],
)
def test_early_stopping_stops_after_patience_and_restores_the_best_weights(
    metrics: list[float], options: Any, expected: tuple[int, int]
) -> None:
    assert run(metrics, **options) == expected


def test_early_stopping_restores_weights_and_running_statistics_of_a_model() -> None:
    """After `restore`, the model predicts as it did at the best metric."""
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm(), rng=0)
    stopping = EarlyStopping(model)
    x = np.random.default_rng(0).random((8, 3)).astype(np.float32)
    model.forward(x, training=True)
    stopping.observe(1.0)
    best = model.predict(x)
    model.forward(5 + x, training=True)
    model.arena += 1
    assert not stopping.observe(2.0)
    assert not stopping.is_best
    assert not np.array_equal(model.predict(x), best)
    stopping.restore()
    assert np.array_equal(model.predict(x), best)


def test_early_stopping_restores_the_weights_of_a_torch_module(torch: Any) -> None:
    model = torch.nn.Linear(2, 1)
    stopping = EarlyStopping(model)
    stopping.observe(1.0)
    before = model.weight.detach().numpy().copy()
    with torch.no_grad():
        model.weight.zero_()
    stopping.restore()
    assert np.array_equal(model.weight.detach().numpy(), before)


def test_early_stopping_continues_after_pickling() -> None:
    first = EarlyStopping({"w": np.ones(2)}, 3)
    first.observe(1.0)
    first.observe(2.0)
    second = pickle.loads(pickle.dumps(first))
    assert [second.observe(m) for m in (2.0, 2.0)] == [False, True]
    assert second.best_at == 1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: EarlyStopping([np.ones(1)], 0), ValueError, r"patience must be at least 1, or None; got 0"),
        (lambda: EarlyStopping([np.ones(1)], mode="best"), ValueError, r'mode must be "min" or "max"; got \'best\''),
        (lambda: EarlyStopping([np.ones(1)], tol=-1), ValueError, r"EarlyStopping: tol must be at least 0; got -1"),
        (
            lambda: EarlyStopping([1.0]),
            TypeError,
            r"EarlyStopping: params\[0\] must be an array; got ",
        ),  # type: ignore[list-item]
        (
            lambda: EarlyStopping([np.ones(1, int)]),
            ValueError,
            r"params\[0\] must be writeable and have dtype float32 or float64; got int64",
        ),
    ],
)
def test_early_stopping_refuses_wrong_arguments(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("make", [lambda: EarlyStopping([np.ones(1)]), lambda: ReduceOnPlateau(0.1)])
def test_observe_refuses_objects_that_are_not_numbers_and_accepts_nan(make: Any) -> None:
    """A refused object changes no attribute. NumPy scalars and zero-dimensional arrays are also accepted."""
    watcher = make()
    state = dict(vars(watcher))
    for metric in ("a", None, [1.0, 2.0], np.ones(2), 1j):
        with pytest.raises(TypeError, match=type(watcher).__name__ + r"\.observe: metric must be a number; got "):
            watcher.observe(metric)
    assert vars(watcher) == state
    for metric in (np.float32(2), np.array(1.0), float("nan"), 1):
        watcher.observe(metric)
    assert watcher.best == 1
