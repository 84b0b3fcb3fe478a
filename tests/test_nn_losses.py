"""Losses agree with torch, are accurate for extreme inputs, and refuse wrong arguments."""

from __future__ import annotations

import doctest
import math
from typing import Any

import numpy as np
import pytest

from fusedstep import nn
from fusedstep.nn.losses import classes, elementwise

N, OUT = 6, 4


def test_losses_and_their_gradients_agree_with_those_of_torch(torch: Any) -> None:
    """The inputs are float64, and the relative tolerance is 1e-12."""
    f, rng = torch.nn.functional, np.random.default_rng(0)
    z = 4 * rng.standard_normal((N, OUT))
    labels, soft = rng.integers(0, OUT, N), rng.dirichlet(np.ones(OUT), N)
    numbers, unit = rng.standard_normal((N, OUT)), rng.random((N, OUT))
    pairs: list[tuple[nn.Loss, Any, Any]] = [
        (nn.MeanSquaredError(), numbers, f.mse_loss),
        (nn.BinaryCrossEntropy(), unit, f.binary_cross_entropy_with_logits),
        (nn.SoftmaxNLL(), labels, f.cross_entropy),
        (nn.SoftmaxNLL(), soft, f.cross_entropy),
        (nn.MulticlassHinge(), labels, lambda z, t: OUT * f.multi_margin_loss(z, t)),
    ]
    for ours, t, theirs in pairs:
        tensor = torch.tensor(z, requires_grad=True)
        value = theirs(tensor, torch.from_numpy(np.asarray(t)))
        value.backward()
        assert ours(z, t) == pytest.approx(value.item(), rel=1e-12)
        np.testing.assert_allclose(ours.gradient(z, t), tensor.grad.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_and_sigmoid_of_extreme_logits_are_finite_and_accurate(dtype: Any) -> None:
    """The logits reach 1e4 and -1e4. The exact losses are computed by hand."""
    z = np.array([[1e4, -1e4], [-1e4, 1e4], [88.0, -89.0], [0.0, 0.0]], dtype)
    nll, labels = nn.SoftmaxNLL(), np.array([0, 0, 1, 1])
    assert nll(z, labels) == pytest.approx((0 + 2e4 + 177 + math.log(2)) / 4, rel=1e-6)
    assert np.isfinite(nll.gradient(z, labels)).all()
    bce, t = nn.BinaryCrossEntropy(), np.array([[1, 0], [1, 0], [1, 1], [0, 1]])
    assert bce(z, t) == pytest.approx((4 * 0 + 2e4 + 89 + 2 * math.log(2)) / 8, rel=1e-6)
    assert np.isfinite(bce.gradient(z, t)).all()
    sigmoid = nn.Sequential(nn.Sigmoid(), dtype=dtype)
    y = sigmoid.forward(z)
    assert y[0, 0] == 1.0
    assert 0 <= y[0, 1] < 1e-37
    assert y[3, 0] == 0.5
    # In float32, Sigmoid replaces every input below -87.7 by -87.7.
    assert y[2, 1] == pytest.approx(math.exp(-89 if dtype == np.float64 else -87.7), rel=0.1)
    assert np.allclose(nn.softmax(z).sum(axis=1), 1)


@pytest.mark.parametrize(
    ("loss", "targets", "message"),
    [
        (
            nn.MeanSquaredError(),
            np.ones(2),
            r"MeanSquaredError: targets must be numbers of shape \(2, 3\); got float64 \(2,\)",
        ),
        (nn.MeanSquaredError(), np.array([["a"] * 3] * 2), r"targets must be numbers of shape \(2, 3\); got <U1"),
        (nn.BinaryCrossEntropy(), np.full((2, 3), -1), r"BinaryCrossEntropy: targets must lie in \[0, 1\]; got -1"),
        (nn.BinaryCrossEntropy(), np.full((2, 3), np.nan), r"targets must lie in \[0, 1\]; got nan"),
        (nn.SoftmaxNLL(), np.array([0, 3]), r"SoftmaxNLL: targets must be labels from 0 to 2; got 3"),
        (nn.SoftmaxNLL(), np.array([-1, 0]), r"SoftmaxNLL: targets must be labels from 0 to 2; got -1"),
        (nn.SoftmaxNLL(), np.array([2**64 - 1, 0], np.uint64), r"labels from 0 to 2; got 18446744073709551615"),
        (nn.MulticlassHinge(), np.array([2**63, 0], np.uint64), r"must be labels from 0 to 2; got 9223372036854775808"),
        (nn.SoftmaxNLL(), np.array([0.0, 1.0]), r"targets must be integer labels of shape \(2,\); got float64 \(2,\)"),
        (nn.SoftmaxNLL(), np.array([0, 1, 1]), r"targets must be integer labels of shape \(2,\); got int64 \(3,\)"),
        (nn.SoftmaxNLL(), np.array([[0], [1]]), r"targets must be numbers of shape \(2, 3\); got int64 \(2, 1\)"),
        (nn.SoftmaxNLL(), np.full((2, 3), -0.5), r"SoftmaxNLL: targets must be >= 0; got -0\.5"),
        (nn.MulticlassHinge(), np.array([0, 9]), r"MulticlassHinge: targets must be labels from 0 to 2; got 9"),
    ],
)
def test_losses_refuse_targets_of_wrong_shape_dtype_or_range(loss: nn.Loss, targets: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss(np.ones((2, 3)), targets)


@pytest.mark.parametrize("outputs", [np.ones(3), np.ones((0, 3)), np.ones((2, 3), int), [[1.0, 2.0]]])
def test_losses_refuse_outputs_of_wrong_type_dtype_or_shape(outputs: Any) -> None:
    with pytest.raises(ValueError, match=r"SoftmaxNLL: outputs must be float32 or float64 of shape \(n, k\)"):
        nn.SoftmaxNLL()(outputs, np.array([0]))


def test_one_loss_object_accepts_batches_of_different_sizes_and_dtypes() -> None:
    rng, loss = np.random.default_rng(0), nn.SoftmaxNLL()
    for n, k, dtype in [(4, 3, "f"), (4, 7, "f"), (1, 3, "d"), (4, 3, "d"), (9, 3, "f")]:
        z, labels = rng.standard_normal((n, k)).astype(dtype), rng.integers(0, k, n).astype(np.uint8)
        expected = -np.log(nn.softmax(z)[np.arange(n), labels]).mean()
        assert loss(z, labels) == pytest.approx(expected, rel=1e-5)
        assert loss.gradient(z, labels).dtype == np.dtype(dtype)


def test_losses_accept_a_vector_of_targets_if_outputs_have_one_column() -> None:
    y, t = np.array([[1.0], [2.0]]), np.array([0.0, 1.0])
    assert nn.MeanSquaredError()(y, t) == nn.MeanSquaredError()(y, t[:, None]) == 1.0
    assert nn.BinaryCrossEntropy()(y, t) == nn.BinaryCrossEntropy()(y, t[:, None])


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("module", [classes, elementwise])
def test_docstring_examples_run(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0
