"""The benchmark of training loops in torch. An implementation is timed only if it learns the expected parameters."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # bench/ is not installed

from bench.torch import cases, peers, report, suite

from fusedstep._bench import common, harness

PLAN = harness.Sampling(budget_s=0.02, min_rounds=3, max_rounds=3, settle_s=0.0)
CASES = {case.name: case for case in cases.CASES}


@pytest.mark.parametrize("name", ["mlp/step", "ppo/optimizer", "cnn/step", "transformer/step"])
def test_every_library_is_checked_and_timed(torch: Any, name: str) -> None:
    lines = suite.run_case(CASES[name], PLAN, 1).lines
    assert {line.status for line in lines} == {"timed"}, [line.status for line in lines]
    assert [line.name for line in lines] == [p.name for p in peers.PEERS if p.suits(CASES[name].network)]
    ours = lines[0]
    assert ours.over_ours == (1.0, 1.0, 1.0)  # fusedstep compared with itself: the ratio and both ends of its interval
    assert ours.as_dict()["mine"]
    assert all(line.error is not None and line.error <= 1 for line in lines)  # as multiples of the allowed error


def test_optimizer_case_does_not_time_the_computation_of_gradients(torch: Any) -> None:
    """`refill`, which is not timed, computes the gradients. `step` clips them and changes the parameters."""
    trainer = peers.Trainer(CASES["ppo/optimizer"], peers.DEFAULT)
    assert trainer.refill is not None
    trainer.refill()
    before = trainer.snapshot()
    norm = sum(p.grad.square().sum() for p in trainer.parameters).sqrt()
    trainer.step()
    clipped = sum(p.grad.square().sum() for p in trainer.parameters).sqrt()
    assert norm > cases.CLIP_NORM and clipped == pytest.approx(cases.CLIP_NORM, rel=1e-3)
    assert not any(torch.equal(a, b) for a, b in zip(before, trainer.snapshot(), strict=True))


def test_benchmarked_implementation_named_fusedstep_uses_the_layers_of_fusedstep(torch: Any) -> None:
    """Another implementation, "fusedstep, torch's layers", uses fusedstep's optimizer and torch's layers."""
    ours, with_layers_of_torch = peers.PEERS[0], peers.PEERS[2]
    layers = {"fusedstep.torch.batch_norm", "fusedstep.torch.dropout"}
    for peer, expected in ((ours, layers), (with_layers_of_torch, set())):
        modules = peers.Trainer(CASES["cnn/step"], peer).task.model.modules()
        assert {m for layer in modules if (m := type(layer).__module__).startswith("fusedstep")} == expected


def test_library_that_is_wrong_or_fails_or_is_not_installed_is_listed_with_the_reason(
    torch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(peer: peers.Peer) -> str:
        (line,) = suite.run_case(CASES["mlp/step"], PLAN, 1, (peer,)).lines
        assert line.seconds is None
        return line.status

    assert status(replace(peers.DEFAULT, form={"maximize": True})).startswith("WRONG")
    assert status(replace(peers.DEFAULT, form={"fused": True, "foreach": True})).startswith("failed: RuntimeError")
    monkeypatch.setattr(common, "missing", lambda modules: list(modules))
    assert status(peers.DEFAULT) == "not installed: torch"


def test_verdict_compares_the_ratio_with_the_target() -> None:
    """A target for "torch" is compared with the fastest implementation whose name starts with "torch".

    The names of all cases are different, and every target has a case.
    """
    lines = [
        suite.Line(f"torch {form}", seconds=1.0, over_ours=(x, x, x)) for form, x in (("fused", 1.4), ("default", 2.0))
    ]
    results = {"mlp/step": suite.CaseResult(CASES["mlp/step"], lines)}

    def met(bound: float, peer: str = "torch fused") -> Any:
        return report.judge(cases.Target("mlp/step", peer, bound), results)["met"]

    assert (met(1.3), met(1.5), met(1.5, "torch default"), met(1.5, "torch"), met(1, "jax")) == (
        True,
        False,
        True,
        False,
        None,
    )
    assert {target.case for target in cases.TARGETS} <= set(CASES)
    assert len(set(CASES)) == len(cases.CASES)
