"""The benchmark of training steps. A library is timed only if it learns the weights of the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fusedstep import _core
from fusedstep._bench import common, harness
from fusedstep._bench.training import cases, data, peers, reference, report, suite
from support.slopes import assert_same_gradient, differences

PLAN = harness.Sampling(budget_s=0.02, min_rounds=3, max_rounds=5, settle_s=0.0)
TINY = cases.Case("tiny", (8,), batch=16, batches=5)
HERE = tuple(peer for peer in peers.PEERS if peer.name in (peers.OURS, peers.YARDSTICK))


def lines(*more: peers.Peer) -> list[suite.Line]:
    return suite.run_case(TINY, PLAN, 1, (*HERE, *more)).lines


def test_trainer_of_fusedstep_is_checked_and_timed() -> None:
    """After the case, fusedstep uses the same backend (its own threads, or OpenMP) as before."""
    backend = _core.backend()
    ours, numpy = lines()
    assert _core.backend() == backend
    assert ours.status == numpy.status == "timed"
    assert ours.error is not None and ours.error < 1
    assert ours.over_ours == numpy.over_yardstick == (1.0, 1.0, 1.0)
    assert ours.seconds is not None and ours.seconds == pytest.approx(np.median(ours.samples))


@pytest.mark.parametrize("peer", peers.PEERS, ids=lambda peer: peer.name)
def test_every_library_learns_the_weights_of_the_reference(peer: peers.Peer) -> None:
    """A library gets the status "timed" only if its weights after the first steps agree with those of the reference."""
    if absent := peer.missing():
        pytest.skip(f"not installed: {absent}")
    line = lines(peer)[-1] if peer not in HERE else next(x for x in lines() if x.name == peer.name)
    assert line.status == "timed", line.status


def test_gradient_of_the_reference_agrees_with_finite_differences() -> None:
    network = reference.NumPyTraining(data.Job(TINY, 1), np.float64)
    rng = np.random.default_rng(0)
    x, y = rng.random((6, cases.FEATURES)), rng.integers(0, cases.CLASSES, 6)
    for p, g in zip(network.p, network.gradients(x, y), strict=True):
        if p.size < 100:  # it is enough to check the biases and the last weights
            assert_same_gradient(g, differences(lambda: network.loss(x, y), p))


class Idle(peers.NumPy):
    """A library that learns in the checked steps, but not in the timed steps."""

    def run(self, steps: int) -> None:
        if steps == reference.CHECKED_STEPS:
            super().run(steps)


class Wrong(peers.NumPy):
    """A library that learns from wrong rows."""

    def prepare(self) -> None:
        super().prepare()
        self.x = self.x * np.float32(0.7)


def test_library_that_is_wrong_or_idle_or_not_installed_is_listed_with_the_reason() -> None:
    wrong, idle, absent = lines(
        peers.Peer("wrong", Wrong), peers.Peer("idle", Idle), peers.Peer("absent", peers.NumPy, ("nobody_has_this",))
    )[-3:]
    assert wrong.status.startswith("WRONG") and wrong.seconds is None
    assert idle.status == "WRONG: the last pass did not reduce the loss" and idle.seconds is None
    assert absent.status == "not installed: nobody_has_this"


def test_random_rows_replace_the_digits_if_scikit_learn_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "missing", lambda modules: list(modules))
    x, y = data.digits()
    assert x.shape == (data.ROWS, cases.FEATURES) and x.dtype == np.float32
    assert x.min() >= 0 and x.max() <= 1 and set(y) == set(range(cases.CLASSES))


def test_target_is_met_if_the_ratio_reaches_it() -> None:
    """Every target has a case. The test also checks two numbers of a case.

    `elements` is the number of parameters. `flops` is the number of floating-point operations in the matrix products of
    a step.
    """
    line = suite.Line("torch fused", seconds=1.0, over_ours=(2.5, 2.4, 2.6))
    results = {"digits/64-64": suite.CaseResult(cases.CASES[0], [line])}

    def met(bound: float, peer: str = "torch fused") -> Any:
        return report.judge(cases.Target("digits/64-64", peer, bound), results)["met"]

    assert (met(2), met(3), met(1, "scikit-learn")) == (True, False, None)
    assert cases.CASES[0].elements == 64 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10
    assert cases.CASES[0].flops == 2 * 32 * (3 * (64 * 64 * 2 + 640) - 64 * 64)
    assert {target.case for target in cases.TARGETS} <= {case.name for case in cases.CASES}
