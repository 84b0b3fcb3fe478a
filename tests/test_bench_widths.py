"""The study of narrow formats (numbers of 16 or 8 bits), which compares their losses with the losses of float32.

A format is good enough if its losses differ from those of float32 by less than a margin. The tests check this
margin, run the study with small models, and check that the stored results are complete.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # bench/ is not installed
pytest.importorskip("torch")
pytest.importorskip("sklearn")

from bench.widths import __main__ as command
from bench.widths import codes, digits, outcome, speed, study, text
from bench.widths.variants import REFERENCE, VARIANTS

from fusedstep._bench.common import select
from fusedstep._bench.harness import Sampling

pytestmark = pytest.mark.torch
PLAN = Sampling(budget_s=0.02, min_rounds=3, max_rounds=5, settle_s=0.0)
DIGITS = replace(digits.Setting(), rows=64, epochs=2, last=1)
TEXT = replace(text.Setting(), width=16, layers=1, heads=2, context=8, steps=4, warm_up=1, last=2, evaluations=2)
EVERY = {v.name: v for v in VARIANTS}


@pytest.mark.parametrize(
    ("losses", "within"),
    [
        ([1.001, 1.999, 3.001, 3.999], True),  # the mean differs by less than 0.1%
        ([1.02, 2.05, 3.03, 4.06], False),  # 1.6% higher
        ([0.98, 1.95, 2.97, 3.94], False),  # 1.6% lower
        ([1.001, 2.0011, 3.0009, 4.001], False),  # higher in every run, by more than two standard errors
        ([0.999, 1.9989, 2.9991, 3.999], True),  # lower in every run, by more than two standard errors
    ],
)
def test_mean_loss_may_differ_by_at_most_1_percent_and_be_at_most_two_standard_errors_higher(
    losses: list[float], within: bool
) -> None:
    """The mean loss may differ from that of float32 by at most 1%.

    If the mean loss is higher, the difference must also be at most two standard errors of the difference.
    """
    reference = [1.0, 2.0, 3.0, 4.0]
    assert outcome.difference(losses, reference).is_within is within
    pair = {"train": reference, "held_out": reference}
    assert outcome.is_within({"train": reference, "held_out": losses}, pair) is within


@pytest.mark.parametrize("name", EVERY)
def test_every_variant_trains_both_models(name: str) -> None:
    """A variant is a format with a kind of rounding. The models are the digits network and the text model.

    If the digits network is trained twice, the losses are equal.
    """
    corpus = text.Corpus(limit=6)
    for found in (digits.learn(EVERY[name], 0, DIGITS), text.learn(corpus, EVERY[name], 0, TEXT)):
        assert all(np.isfinite(value) and 0 < value < 10 for value in found.values())
    assert digits.learn(EVERY[name], 0, DIGITS) == digits.learn(EVERY[name], 0, DIGITS)


@pytest.mark.parametrize("code", codes.CODES.values(), ids=codes.CODES)
def test_rounding_to_a_code_keeps_the_mean_and_keeps_positive_numbers_positive(code: codes.Code) -> None:
    """A code stores numbers in 8 bits and rounds them at random. The digits network trains with states in this code."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(300).astype(np.float32)
    means = [np.mean(code(x, False, rng) - x) for _ in range(400)]
    assert abs(np.mean(means)) < 4 * np.std(means) / np.sqrt(len(means))
    assert np.all(code(x * x * np.float32(1e-4), True, rng) > 0)
    assert 0 < codes.learn(code, 0, DIGITS)["train"] < 10


def test_stored_results_are_complete_and_weak_variants_are_outside_the_margin(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A variant is a format with a kind of rounding. The weak variants round to nearest.

    The margin is the allowed difference between the losses of a variant and the losses of float32. The losses of the
    weak variants must be outside the margin. Otherwise the study cannot detect errors.
    """
    document: dict[str, Any] = json.loads(command.KEPT.read_text("utf-8"))
    for what in ("digits", "text"):
        runs = document["losses"][what]
        assert list(runs) == list(EVERY)
        assert all(len(values) == study.SEEDS[what] >= 5 for own in runs.values() for values in own.values())
    assert all(
        list(found) == list(codes.CODES) for found in (document["losses"]["codes"], *document["errors"].values())
    )
    assert command.main(["--show"]) == 0
    assert capsys.readouterr().out.count("OUTSIDE") >= 2 * sum(v.weak for v in VARIANTS)


def test_study_fails_if_a_weak_variant_is_within_the_margin() -> None:
    """The margin is the allowed difference between the losses of a variant and the losses of float32.

    A weak variant rounds parameters or states to nearest, which loses small changes. So its losses must be outside the
    margin. Otherwise the study cannot detect errors. Here, a weak variant gets the losses of float32.
    """
    document = json.loads(command.KEPT.read_text("utf-8"))
    weak = next(v.name for v in VARIANTS if v.weak)
    document["losses"]["text"][weak] = document["losses"]["text"][REFERENCE.name]
    assert command.show(document) == 1


def few(case: str, *names: str) -> tuple[speed.WidthCase, tuple[speed.Way, ...]]:
    return speed.WidthCase(case, ((300, 7), (11,))), tuple(w for w in speed.WAYS if not names or w.name in names)


def test_every_width_is_timed() -> None:
    """A width is a choice of formats for parameters and states. A way is an implementation with a width."""
    case, every = few("tiny")
    ways = tuple(way for way in every if way.name.startswith(("fusedstep", "torch fused", "torch, masters")))
    assert len(ways) == len(every) - 3, "three ways are not tested, because their imports take half a minute"
    result = speed.run_case(case, PLAN, 1, 1e9, ways)
    assert [line.name for line in result.lines] == [way.name for way in ways]
    timed = {line.name: line for line in result.lines if line.seconds is not None}
    assert list(timed) == [way.name for way in ways]
    assert timed[speed.OURS].ratio == (1.0, 1.0, 1.0)
    assert timed["torch fused bfloat16"].over_like is not None
    assert timed["fusedstep uint8 states"].bytes_ratio == pytest.approx(16 / 28)  # bytes that a step reads and writes


def test_width_that_does_not_fit_in_memory_or_fails_is_listed_with_the_reason() -> None:
    """A width is a choice of number formats for parameters and states."""
    case, ways = few("tiny", speed.OURS, "fusedstep float16")
    lines = speed.run_case(case, PLAN, 1, case.elements * 25.0, ways).lines
    assert lines[0].seconds is not None and lines[1].status.startswith("left out: all arrays together need more")

    def fail(_: object) -> speed.Step:
        raise ArithmeticError("no")

    broken = (ways[0], replace(ways[1], make=fail), replace(ways[1], needs=("a_package_that_nobody_has",)))
    lines = speed.run_case(case, PLAN, 1, 1e9, broken).lines
    assert [line.status for line in lines[1:]] == [
        "failed: ArithmeticError: no",
        "not installed: a_package_that_nobody_has",
    ]


def test_verdict_on_a_width_uses_the_bound_for_the_instruction_set() -> None:
    """A target without `like` compares our time for a width (a choice of number formats) with our float32 time.

    A target with `like` compares our time with the time of another library. The line of that library contains the
    ratio (time of the library) / (our time). The verdict uses the inverse ratio.
    """
    case, ways = few("widths/50M", "fusedstep uint8 states")
    line = speed.WidthLine(ways[0].name, seconds=1.0, ratio=(0.8, 0.7, 0.9))
    results = {case.name: speed.WidthResult(case, [line])}
    target = next(t for t in speed.targets() if t.line == ways[0].name)
    assert [speed.judge(target, results, isa)["met"] for isa in ("v4", "v3")] == [False, True]
    peer = replace(target, line="fusedstep OffloadedOptimizer", bound=1.05, like="torch, masters by hand")
    line = speed.WidthLine("torch, masters by hand", seconds=1.0, over_like=(0.5, 0.4, 0.8))
    entry = speed.judge(peer, {case.name: speed.WidthResult(case, [line])}, "v4")
    assert (entry["value"], entry["measured"], entry["met"]) == (2.0, "2.00 [1.25, 2.50]", False)
    assert speed.judge(target, {}, "v4")["met"] is None


def test_optimizer_benchmark_contains_the_cases_of_narrow_formats() -> None:
    from bench.suites import SUITES, Setting

    cases = SUITES[0].cases(Setting(1, ["v3"], 1e9))
    picked = [case.name for case in select(cases, "widths/*", quick=False)]
    assert picked == [f"widths/{size}" for size in ("1M", "20M", "50M", "100M", "gpt2")]
    assert {target.case for target in speed.targets()} <= set(picked)
