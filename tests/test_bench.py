"""The benchmark of optimizers.

The tests are about intervals of ratios of times, counts of bytes, the check of an implementation before it is timed,
and the lines of the output. An implementation is fusedstep, another library, or a yardstick (simple code that does
comparable work). The output has one line for each implementation.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # bench/ is not installed

from bench import __main__ as command

import fusedstep as fs
from fusedstep._bench import common, harness, report
from fusedstep._bench.optim import cases, peers, reference, suite
from fusedstep._bench.optim import report as optim_report

TINY = cases.Case("tiny", "Adam", ((7, 5), (3,)), {"lr": 1e-3})
PLAN = harness.Sampling(budget_s=0.02, min_rounds=5, max_rounds=9, settle_s=0.0)
HERE = (
    peers.Peer(peers.OURS, peers.Ours),
    peers.Peer(peers.ROOFLINE, peers.Roofline),
    peers.Peer("numpy", peers.NumPy),
)
ABSENT = peers.Peer("absent", peers.NumPy, needs=("a_package_that_nobody_has",))


class Counting:
    """An implementation with its own clock. A step takes `seconds` on this clock. `fill`, if used, takes 1 second."""

    def __init__(self, seconds: float = 1e-6, refilled: bool = False) -> None:
        self.clock, self.seconds, self.steps = 0.0, seconds, 0
        self.refill: Callable[[], None] | None = self.fill if refilled else None

    def step(self) -> None:
        self.clock, self.steps = self.clock + self.seconds, self.steps + 1

    def fill(self) -> None:
        self.clock += 1.0


def run(case: cases.Case, *more: peers.Peer, memory: float = 1e9) -> suite.CaseResult:
    return suite.run_case(case, PLAN, fs.num_threads(), memory, (*HERE, *more))


def test_interval_of_a_known_ratio_contains_the_ratio_and_is_narrow() -> None:
    rng = np.random.default_rng(1)
    slow_moments = 1 + rng.random(101)
    ours, theirs = slow_moments * rng.normal(1, 0.01, 101), slow_moments * rng.normal(3, 0.03, 101)
    ratio, low, high = harness.ratio_interval(theirs, ours)
    assert low <= ratio <= high
    assert low < 3.0 < high
    assert high - low < 0.6


def test_interval_has_no_width_if_all_samples_have_the_same_ratio() -> None:
    ratio = harness.ratio_interval(np.full(9, 6.0), np.full(9, 2.0))
    assert ratio == (3.0, 3.0, 3.0)


def test_interval_refuses_different_numbers_of_samples() -> None:
    with pytest.raises(ValueError, match="denominator must have as many samples as numerator, 3; got 4"):
        harness.ratio_interval(np.ones(3), np.ones(4))


def test_calibration_repeats_steps_until_samples_are_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Counting(seconds=3e-6)
    monkeypatch.setattr("fusedstep._bench.harness.time.perf_counter", lambda: runner.clock)
    repeats, seconds = harness.calibrate(runner)
    assert seconds == pytest.approx(3e-6)
    assert 34 <= repeats <= 68  # a sample takes at least 100 us


def test_refill_function_of_an_implementation_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each step, the function `refill` restores the arrays that the step changes."""
    runner = Counting(seconds=2e-6, refilled=True)
    monkeypatch.setattr("fusedstep._bench.harness.time.perf_counter", lambda: runner.clock)
    assert harness.sample(runner, 10) == pytest.approx(2e-6)
    assert runner.clock > 10  # each of the 10 refills takes 1 second


def test_all_implementations_have_the_same_number_of_samples() -> None:
    timings = harness.measure({"a": Counting(), "b": Counting()}, PLAN)
    rounds = {name: len(t.samples) for name, t in timings.items()}
    assert rounds["a"] == rounds["b"] and 5 <= rounds["a"] <= 9
    assert all(t.repeats > 1 and t.median > 0 for t in timings.values())


@pytest.mark.parametrize(
    ("rule", "options", "full", "expected"),
    [
        ("SGD", {}, False, 12),
        ("SGD", {"momentum": 0.9}, False, 20),
        ("Adam", {}, False, 28),
        ("AdamW", {}, True, 44),
    ],
)
def test_bytes_per_element_depend_on_the_states_and_on_full(
    rule: str, options: dict[str, Any], full: bool, expected: int
) -> None:
    """If `full` is True, the step also clips gradients, updates averages of the parameters and zeroes gradients."""
    states = cases.count_state(fs.optim.registry[rule], {"lr": 0.1, **options})
    assert cases.bytes_per_element(states, full) == expected


def test_every_optimizer_has_cases_of_the_required_sizes() -> None:
    """Element-wise optimizers have at least the sizes 250k and 300x1000, and one of the sizes 10M and 50M.

    Optimizers that are not element-wise have only the size resnet18. The names of all cases are different.
    Every case that is named in TARGETS exists.
    """
    table = cases.optim_cases(fs.optim.registry)
    for rule in fs.optim.registry:
        sizes = {case.name.split("/")[1] for case in table if case.rule == rule and not case.full}
        if not fs.optim.registry[rule].element_wise:
            assert sizes == {"resnet18"}  # the time of its step depends on the shapes of the parameters
            continue
        assert {"250k", "300x1000"} <= sizes
        assert sizes & {"10M", "50M"}
    assert len({case.name for case in table}) == len(table)
    assert {target.case for target in cases.TARGETS} <= {case.name for case in table}


def test_cases_of_real_models_have_the_published_parameter_counts() -> None:
    counts = {size: (len(shapes), sum(prod(s) for s in shapes)) for size, shapes in cases.SIZES.items()}
    assert counts["resnet18"] == (62, 11_689_512)
    assert counts["gpt2"] == (148, 124_439_808)


def test_scaling_cases_have_different_numbers_of_elements_and_threads() -> None:
    """The cases size/... have 100 to 100,000,000 elements. All other cases are timed with 1, 2, 4 and 6 threads."""
    table = cases.scaling_cases(threads=6)
    assert [case.elements for case in table if case.name.startswith("size/")] == [10**k for k in range(2, 9)]
    assert {case.threads for case in table} == {(), (1, 2, 4, 6)}
    assert cases.thread_counts(1) == (1,)


def test_every_number_of_threads_has_its_own_line_of_output() -> None:
    case = cases.Case("tiny", "Adam", TINY.shapes, {"lr": 1e-3}, peers=("fusedstep", "roofline"), threads=(1, 2))
    lines = run(case).lines
    assert [line.name for line in lines] == ["fusedstep @1", "roofline @1", "fusedstep @2", "roofline @2"]
    assert [line.as_dict()["mine"] for line in lines] == [True, False, True, False]
    assert all(line.over_yardstick is not None and line.ratio is not None for line in lines)
    assert lines[1].over_yardstick == lines[3].over_yardstick == (1.0, 1.0, 1.0)
    assert fs.num_threads() <= 2  # the run sets 1 or 2 threads, and does not restore the number


def test_cases_are_selected_by_a_pattern() -> None:
    table = cases.optim_cases(fs.optim.registry)
    assert [case.name for case in common.select(table, "adam/mlp", quick=False)] == ["adam/mlp"]
    assert all(case.quick for case in common.select(table, None, quick=True))
    with pytest.raises(ValueError, match="got 'nothing'"):
        common.select(table, "nothing", quick=False)


@pytest.mark.parametrize("rule", list(fs.optim.registry))
def test_every_optimizer_is_checked_and_timed(rule: str) -> None:
    result = run(cases.Case("tiny", rule, TINY.shapes, cases.VARIANTS.get(rule, {"": {}})[""] | {"lr": 1e-2}))
    ours = result.line(peers.OURS)
    assert ours is not None
    assert ours.status == "timed"
    assert ours.error is not None and ours.error < 1  # the error divided by the allowed error
    assert ours.ratio == (1.0, 1.0, 1.0)  # the time divided by the time of fusedstep
    assert ours.over_yardstick is not None and ours.over_yardstick[0] > 0


def test_full_step_is_checked_and_timed() -> None:
    """A full step also clips gradients, updates averages of the parameters and zeroes gradients."""
    full = cases.Case("full", "AdamW", TINY.shapes, {"lr": 1e-3, **cases.DECAY}, full=True)
    lines = run(full).lines
    assert [line.status for line in lines] == ["timed"] * 3
    assert [line.seconds is not None and line.seconds > 0 for line in lines] == [True] * 3


def test_results_with_states_of_8_bits_are_checked_by_their_root_mean_square_error() -> None:
    """`error` is the root mean square error divided by the allowed one. Results are right if it is at most 1."""
    narrow = cases.Case("narrow", "Adam", ((8192,),), {"lr": 1e-3}, states="uint8")
    ours, _, numpy = run(narrow).lines
    assert (ours.status, numpy.status) == ("timed", "timed")
    assert ours.error is not None and 0.01 < ours.error < 1  # more than 0.01, because the states are rounded
    start, want = np.zeros(4), np.ones(4)
    assert reference.narrow_error_of(want * 1.05, want, start) == pytest.approx(0.5)  # 5% too large; 10% is allowed
    assert reference.narrow_error_of(want * 1.2, want, start) > 1
    assert reference.narrow_error_of(np.array([1, 1, 1, np.nan]), want, start) == np.inf


def test_libraries_that_are_slow_or_use_8_bits_have_their_own_cases() -> None:
    """In the last of these cases, fusedstep is compared with the libraries that have 8-bit states: SLOW[2:]."""
    slow = cases.slow_cases()
    assert not any(case.quick for case in slow)
    assert {name for case in slow for name in case.peers} >= set(cases.SLOW)
    names = {peer.name for peer in peers.line_up(TINY, peers.PEERS)}
    assert "torch fused" in names and not names & set(cases.SLOW)
    with_8_bit_states = slow[-1]
    assert [peer.name for peer in peers.line_up(with_8_bit_states, peers.PEERS)] == ["fusedstep", *cases.SLOW[2:]]


def test_result_contains_the_time_of_a_compilation() -> None:
    lines = run(TINY, peers.Peer("compiled", peers.NumPy, compiles=True)).lines
    assert [line.ready_s is not None and line.ready_s > 0 for line in lines] == [False, False, False, True]


@pytest.mark.torch
def test_torch_compile_is_not_tried_with_more_than_16_tensors(torch: Any) -> None:
    many = cases.Case("many", "Adam", ((2,),) * 17, {"lr": 1e-3}, peers=("torch.compile",))
    (line,) = suite.run_case(many, PLAN, 1, 1e9).lines
    assert line.status == "not available: torch.compile takes minutes for 17 tensors; at most 16 tensors are tried"


def test_missing_library_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(TINY, ABSENT)
    optim_report.print_case(result)
    assert result.lines[-1].status == "not installed: a_package_that_nobody_has"
    assert "not installed" in capsys.readouterr().out


def test_library_without_the_optimizer_is_listed() -> None:
    def unknown(job: peers.Job) -> peers.NumPyRunner:
        raise common.Unavailable("no such optimizer")

    result = run(TINY, peers.Peer("other", unknown))
    assert result.lines[-1].status == "not available: no such optimizer"


def test_library_that_raises_an_error_is_listed_and_the_others_are_timed() -> None:
    def broken(job: peers.Job) -> peers.NumPyRunner:
        raise OSError("no compiler\nand more")

    result = run(TINY, peers.Peer("other", broken))
    assert result.lines[-1].status == "failed: OSError: no compiler"
    assert result.lines[0].seconds is not None


def test_library_that_does_not_fit_in_memory_is_left_out_and_the_others_are_timed() -> None:
    case = cases.Case("tiny", "SGD", ((1000,),), {"lr": 1e-3})
    memory = 4.0 * 1000 * 20  # enough for 20 arrays; a step of "greedy" needs 100 temporary arrays
    result = run(case, peers.Peer("greedy", peers.NumPy, temporaries=100), memory=memory)
    assert result.lines[-1].status.startswith("left out")
    assert all(line.seconds is not None for line in result.lines[:-1])


def test_implementation_with_wrong_results_is_not_timed() -> None:
    class Wrong(peers.NumPy):
        def load(self, scale: float = 1.0) -> None:
            super().load(1.01 * scale)

    case = cases.Case("tiny", "SGD", TINY.shapes, {"lr": 1e-3})
    line = run(case, peers.Peer("wrong", Wrong)).lines[-1]
    assert line.status.startswith("WRONG")
    assert line.seconds is None


def test_benchmark_detects_an_implementation_that_stops_changing_its_parameters() -> None:
    class Lazy(peers.NumPy):
        def run(self, *rest: Any) -> None:
            if self.t < len(reference.GRADIENT_SCALES):
                super().run(*rest)

    line = run(TINY, peers.Peer("lazy", Lazy)).lines[-1]
    assert line.status == "WRONG: the timed steps changed no parameters"
    assert line.seconds is None


def test_verdict_compares_the_time_or_the_ratio_with_the_target() -> None:
    """A target without the name of an implementation is the longest allowed time of fusedstep.

    Other targets are the smallest allowed ratio: the time of the named implementation divided by the time of fusedstep.
    If several implementations have names that start with the name in the target, the fastest of them counts.
    """
    ours = suite.Line(peers.OURS, seconds=5e-6, ratio=(1.0, 1.0, 1.0))
    roofline = suite.Line(peers.ROOFLINE, seconds=4.5e-6, ratio=(0.9, 0.8, 1.0))
    foreach = suite.Line("torch foreach", seconds=9e-5, ratio=(18.0, 17.0, 19.0))
    fused = suite.Line("torch fused", seconds=1e-4, ratio=(20.0, 19.0, 21.0))
    results = {"c": suite.CaseResult(TINY, 28, [ours, roofline, foreach, fused])}

    def verdict(bound: float, peer: str = "") -> tuple[str, bool | None]:
        entry = optim_report.judge(cases.Target("c", bound, peer), results)
        return entry["measured"], entry["met"]

    assert verdict(6e-6) == ("5.00 us", True)
    assert verdict(0.95, "roofline") == ("0.90 [0.80, 1.00] x roofline", False)
    assert verdict(20, "torch fused") == ("20.0 [19.0, 21.0] x torch fused", True)
    assert verdict(20, "torch") == ("18.0 [17.0, 19.0] x torch foreach", False)
    assert verdict(1, "jax") == ("-", None)
    assert optim_report.judge(cases.Target("other", 1), results)["met"] is None


def test_duration_has_three_digits_and_a_suitable_unit() -> None:
    assert [report.duration(s) for s in (2.5e-8, 6e-6, 0.0123, 3.0)] == [
        "25.0 ns",
        "6.00 us",
        "12.3 ms",
        "3.00 s",
    ]


def test_plain_table_has_every_cell() -> None:
    table = report.plain_table("Title", ("name", "time"), [("a", "1 us"), ("longer", "-")])
    assert table.splitlines() == ["Title", "name    time", "a       1 us", "longer     -"]


def test_quick_run_works_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "PEERS", (*HERE, ABSENT))
    file = tmp_path / "results.json"
    assert command.main(["optim", "--quick", "--only", "adam/mlp", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "absent" in out and "not measured" in out
    document = json.loads(file.read_text())
    assert document["machine"]["threads"] == fs.num_threads()
    (case,) = document["cases"]
    assert case["bytes_per_element"] == 28
    assert len(case["lines"]) == 4
    assert {target["met"] for target in document["targets"] if target["case"] == "adam/50M"} == {None}


@pytest.mark.parametrize("arguments", [["--only", "nothing"], ["--isa", "v9"], ["--threads", "0"]])
def test_wrong_command_line_gives_a_message_and_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        command.main(["optim", *arguments])
    assert exit_.value.code == 2
    assert "got" in capsys.readouterr().err.splitlines()[-1]
