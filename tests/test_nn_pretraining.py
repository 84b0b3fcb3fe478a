"""Greedy layer-wise pre-training with `nn.pretrain`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fusedstep import nn

X = (load_digits().data[:400] / 16).astype(np.float32)


def reconstructed(stack: nn.PretrainedStack, x: np.ndarray) -> np.ndarray:
    """Encode and decode x with NumPy formulas."""
    for layer in stack.layers:
        x = np.tanh(x @ layer.weight + layer.bias)
    for layer in reversed(stack.layers):
        decoder = layer.autoencoder.layers[-1].params
        x = x @ decoder["weight"] + decoder["bias"]
    return x


def test_error_of_a_pretrained_stack_is_the_mean_squared_error_of_its_reconstruction() -> None:
    """A stack has one auto-encoder per layer. The error is smaller than 0.6 times the variance of the data."""
    (stack,) = nn.pretrain(X, [24, 12], nn.Tanh, epochs=10)
    assert [layer.weight.shape for layer in stack.layers] == [(64, 24), (24, 12)]
    assert stack.error == pytest.approx(np.mean((X - reconstructed(stack, X)) ** 2), rel=1e-4)
    assert stack.error < 0.6 * X.var(axis=0).mean()


def test_pretrain_adds_a_layer_to_each_of_the_best_stacks_and_sorts_the_stacks_by_error() -> None:
    """A candidate is a dict of settings for one layer.

    For each layer, every candidate is trained on top of every kept stack. The `keep` best new stacks are kept.
    """
    candidates: list[dict[str, Any]] = [{"epochs": 0}, {"epochs": 6}, {"epochs": 6, "lr": 1e-5}]
    kept = nn.pretrain(X, [24, 12], nn.Tanh, candidates=candidates, keep=2)
    errors = [stack.error for stack in kept]
    assert len(kept) == 2
    assert errors == sorted(errors)
    assert kept[0].layers[0].candidate == 1
    every = nn.pretrain(X, [24, 12], nn.Tanh, candidates=candidates, keep=9)
    assert len(every) == 9
    assert len({(s.layers[0].candidate, s.layers[1].candidate) for s in every}) == 9
    assert [s.error for s in every] == sorted(s.error for s in every)


def test_equal_candidates_get_different_weights_and_the_same_seed_repeats_the_result() -> None:
    """Another seed gives other weights."""
    one, other = nn.pretrain(X, [8], candidates=[{}, {}], keep=2, epochs=1)
    assert not np.array_equal(one.layers[0].weight, other.layers[0].weight)
    again = nn.pretrain(X, [8], candidates=[{}, {}], keep=2, epochs=1)
    assert all(np.array_equal(a.layers[0].weight, b.layers[0].weight) for a, b in zip([one, other], again, strict=True))
    assert not np.array_equal(nn.pretrain(X, [8], epochs=1, seed=1)[0].layers[0].weight, one.layers[0].weight)


def test_kl_penalty_lowers_the_mean_activation_and_noise_changes_it() -> None:
    """The target of the penalty is a mean activation of 0.05."""

    def mean_activation(**settings: Any) -> float:
        layer = nn.pretrain(X, [16], epochs=20, **settings)[0].layers[0]
        return float((1 / (1 + np.exp(-(X @ layer.weight + layer.bias)))).mean())

    assert mean_activation(penalty=nn.KLActivity(0.5, rho=0.05)) < 0.15 < mean_activation()
    assert mean_activation(noise=0.3) != mean_activation()


def test_pretrain_ranks_a_diverging_candidate_last() -> None:
    """With the learning rate 1e30, the training diverges, and the error is inf."""
    with np.errstate(all="ignore"):
        best, worst = nn.pretrain(X, [8], None, candidates=[{"lr": 1e30}, {"lr": 1e-3}], keep=2, epochs=2)
    assert best.layers[0].candidate == 1 and math.isinf(worst.error)


def test_pretrain_accepts_a_read_only_input_and_does_not_change_it() -> None:
    x = X.copy()
    x.flags.writeable = False
    nn.pretrain(x, [8], epochs=1, noise=0.1)
    assert np.array_equal(x, X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"x": X.astype(int)},
            r"pretrain: x must be float32 or float64 of shape \(n, width\) with n, width >= 1; got int64",
        ),
        ({"x": X[0]}, r"pretrain: x must be float32 or float64 of shape"),
        ({"keep": 0}, "pretrain: keep must be an integer >= 1; got 0"),
        ({"candidates": []}, "pretrain: candidates must hold at least one dict of settings; got none"),
        ({"candidates": [{"rate": 1}]}, "pretrain: a setting must be one of epochs, .*; got 'rate'"),
        ({"penalty": 3}, "pretrain: penalty must be an ActivityPenalty or None; got 3"),
        ({"batch_size": 0}, "pretrain: batch_size must be an integer >= 1; got 0"),
        ({"widths": [0]}, "Linear: out_features must be an integer >= 1; got 0"),
    ],
)
def test_pretrain_refuses_wrong_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        nn.pretrain(**{"x": X, "widths": [8], **options})
