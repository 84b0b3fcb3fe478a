"""Ensembles are compared with formulas. Snapshots and Polyak averages are compared with copies of the trained model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import ensemble, nn, schedules
from fusedstep.ensemble import Ensemble, Polyak, Snapshots, average, over_seeds

X = np.random.default_rng(0).random((7, 4)).astype(np.float32)


def model(seed: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3), rng=seed)


def test_average_is_the_weighted_mean_and_does_not_change_its_arguments() -> None:
    outputs = np.random.default_rng(1).standard_normal((5, 6, 3))
    np.testing.assert_allclose(average(iter(outputs)), outputs.mean(axis=0), rtol=1e-14)
    weights = [1, 0, 2, 0.5, 3]
    np.testing.assert_allclose(average(outputs, weights), np.average(outputs, axis=0, weights=weights), rtol=1e-14)
    first = outputs[0].copy()
    average(outputs)
    assert np.array_equal(outputs[0], first)


def test_an_ensemble_returns_mean_and_variance_of_the_outputs_of_its_members() -> None:
    """The outputs are probabilities. `together[2]` is a member, and `together[:2]` contains the first two members."""
    members = [model(seed) for seed in range(4)]
    together = Ensemble(members)
    probabilities = np.stack([nn.softmax(m.predict(X)) for m in members]).astype(np.float64)
    np.testing.assert_allclose(together.predict(X, nn.softmax), probabilities.mean(axis=0), rtol=1e-12)
    moments = together.moments(X, nn.softmax)
    np.testing.assert_allclose(moments.variance, probabilities.var(axis=0), rtol=1e-9, atol=1e-15)
    assert moments.draws == len(together) == 4
    assert together[2] is members[2]
    assert list(together[:2]) == members[:2]


def test_squared_error_of_the_mean_is_the_mean_error_minus_the_variance_of_members() -> None:
    """The mean error is the mean of the members' squared errors. The equation is from Krogh and Vedelsby (1995)."""
    together, target = Ensemble([model(seed) for seed in range(5)]), np.ones((7, 3))
    errors = np.mean([(m.predict(X).astype(np.float64) - target) ** 2 for m in together], axis=0)
    moments = together.moments(X)
    np.testing.assert_allclose((moments.mean - target) ** 2, errors - moments.variance, rtol=1e-10)


def test_estimators_and_functions_can_be_members_of_an_ensemble() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    fitted = linear.LinearRegression().fit(X, X[:, 0])
    together = Ensemble([fitted, lambda x: x[:, 0]])
    np.testing.assert_allclose(together.predict(X), X[:, 0], atol=1e-6)


def test_snapshots_copy_the_model_at_the_end_of_each_cycle() -> None:
    """The cycles of the learning rate end after steps 4, 12 and 28. After these steps, `observe` returns True.

    `predict` returns the mean of the predictions of all copies.
    """
    net, loss = model(0), nn.SoftmaxNLL()
    eta = schedules.cosine_restarts(0.1, cycle_steps=4, multiplier=2)
    opt = fs.SGD(net.params, lr=eta)
    snapshots, kept = Snapshots(net, eta), []
    labels = np.arange(7) % 3
    for t in range(1, 30):
        net.backward(loss.gradient(net.forward(X, training=True), labels))
        opt.step(net.grads)
        if snapshots.observe(t):
            kept.append(net.arena.copy())
    assert len(snapshots) == 3  # after steps 4, 12, 28
    for member, arena in zip(snapshots, kept, strict=True):
        assert np.array_equal(member.arena, arena) and member is not net
    np.testing.assert_allclose(snapshots.predict(X), np.mean([m.predict(X) for m in snapshots], axis=0), rtol=1e-6)
    assert [Snapshots(net, eta, last=2).observe(t) for t in (4, 12, 28)] == [True] * 3


def test_snapshots_with_last_2_keep_only_the_last_two_models() -> None:
    net, eta = model(0), schedules.cosine_restarts(0.1, cycle_steps=1)
    snapshots = Snapshots(net, eta, last=2)
    for t in range(1, 6):
        net.arena[:] = t
        snapshots.observe(t)
    assert [member.arena[0] for member in snapshots] == [4, 5]


@pytest.mark.parametrize("decay", [0.9, None])
def test_polyak_averages_equal_the_averages_of_the_optimizer_or_the_plain_mean(decay: float | None) -> None:
    """With a decay, `Polyak` agrees with the average that an optimizer with `ema_decay` keeps.

    Without a decay, `Polyak` agrees with the mean of 20 copies of the parameters, one after each step. Inside the
    context `averaged`, the parameters have the values of the average. The end of the context restores the old values.
    """
    net = model(1)
    opt = fs.SGD(net.params, lr=0.1, ema_decay=0.9)
    mean, seen = Polyak(net.params, decay), []
    rng = np.random.default_rng(0)
    for _ in range(20):
        opt.step([rng.standard_normal(p.shape).astype(np.float32) for p in net.params.values()])
        mean.update()
        seen.append(net.arena.copy())
    before = net.arena.copy()
    with mean.averaged():
        found = net.arena.copy()
        net.arena += 1  # changes inside the context are not kept
    assert np.array_equal(net.arena, before)
    with opt.averaged():
        expected = net.arena.copy() if decay else np.mean(seen, axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_over_seeds_returns_mean_standard_deviation_and_standard_error() -> None:
    """The standard deviation of only one score is nan."""
    values = [0.5, 0.75, 0.25, 1.0]
    scores = over_seeds(lambda seed: values[seed], range(4))
    assert list(scores.values) == values
    assert scores.mean == np.mean(values)
    assert scores.std == pytest.approx(np.std(values, ddof=1))
    assert scores.standard_error == pytest.approx(scores.std / 2)
    assert math.isnan(over_seeds(lambda seed: np.float32(1), [3]).std)


def test_monte_carlo_averages_over_dropout_masks_and_over_noise() -> None:
    """The mean over masks agrees with the prediction without dropout, because the model is linear."""
    net = nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5), nn.Linear(50, 2), dtype=np.float64, rng=0)
    x = X.astype(np.float64)
    masks = net.predict_samples(x, 400, 7)
    np.testing.assert_allclose(masks.mean, net.predict(x), atol=4 * np.sqrt(masks.variance.max() / 400))
    noisy = ensemble.monte_carlo(lambda key: net.predict(fs.gaussian_noise(x, 0.1, key)), 100, fs.Key(1))
    assert noisy.draws == 100
    assert (noisy.variance > 0).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: average([]), ValueError, r"average: at least one of the outputs must have a weight above 0; got 0"),
        (lambda: average([[1.0], [1.0, 2.0]]), ValueError, r"outputs\[1\] must have the shape \(1,\); got \(2,\)"),
        (
            lambda: average([np.ma.masked_less([1.0], 3)]),
            TypeError,
            r"outputs\[0\] must be an array of numbers without a mask; got MaskedArray",
        ),
        (lambda: average([["a"]]), TypeError, r"average: outputs\[0\] must be numbers; got list of dtype <U1"),
        (lambda: average([[1.0]] * 2, [1]), ValueError, r"as many entries .*; got more outputs than .* weights is 1"),
        (lambda: average([[1.0]], [1, 2]), ValueError, r"must have as many .*; got more weights than .* outputs is 1"),
        (lambda: average([[1.0]], [0]), ValueError, r"a weight above 0; got 1 outputs with the total weight 0"),
        (lambda: average([[1.0]], [-1]), ValueError, r"average: weights\[0\] must be at least 0; got -1"),
        (lambda: Ensemble([]), ValueError, r"Ensemble: members must hold at least one model; got none"),
        (lambda: Ensemble([3]), TypeError, r"members\[0\] must have predict\(x\) or be a function of x; got int"),
        (lambda: Snapshots(model(0), schedules.constant(1.0)), TypeError, r"Snapshots: schedule must have ends_cycle"),
        (lambda: Snapshots(model(0), schedules.cosine_restarts(1.0, 3)).predict(X), ValueError, "got 0 outputs with"),
        (lambda: Polyak([np.ones(2, int)]), ValueError, r"Polyak: params\[0\] must be writeable and have dtype float"),
        (lambda: Polyak([np.ones(2)], 1.5), ValueError, r"Polyak: decay must be from 0 to 1; got 1\.5"),
        (
            lambda: over_seeds(lambda s: [1, 2], [0]),
            ValueError,
            r"over_seeds: score must return a number; got .* for seed 0",
        ),  # type: ignore[arg-type, return-value]
        (lambda: over_seeds(lambda s: 1.0, []), ValueError, r"over_seeds: seeds must hold at least one seed; got none"),
    ],
)
def test_ensembles_snapshots_and_averages_refuse_wrong_arguments(
    call: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()
