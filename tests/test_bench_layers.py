"""The benchmark of layers.

The tests are about the check of an implementation before it is timed, about the ratios of times, and about the verdict
on targets. An implementation is fusedstep, another library, or a yardstick (simple code that does comparable work). The
output has one line for each implementation.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # bench/ is not installed

from bench import __main__ as command

import fusedstep as fs
from fusedstep._bench import harness
from fusedstep._bench import run as bench_run
from fusedstep._bench.layers import cases, copies, peers, reference, report, suite
from fusedstep._bench.layers.cases import ALONE, COPY, TORCH, Case, Target
from fusedstep._bench.layers.numpy_peer import NumPy
from fusedstep._bench.layers.ours import Ours
from fusedstep._bench.layers.runner import Job, Runner

PLAN = harness.Sampling(budget_s=0.01, min_rounds=3, max_rounds=5, settle_s=0.0)
NUMPY = tuple(peer for peer in peers.PEERS if peer.name == "numpy")
DROPOUT = Case("tiny", "dropout", (4099,))
BN = Case("tiny", "bn", (6, 3, 5, 7))
TINY = (
    DROPOUT,
    Case("tiny", "dropout_backward", (4099,)),
    BN,
    Case("tiny", "bn", (6, 5, 7, 3), axis=-1),
    Case("tiny", "bn", (64, 5)),
    Case("tiny", "bn", (6, 3, 5, 7), residual=True),
    Case("tiny", "bn_backward", (6, 3, 5, 7)),
    Case("tiny", "bn_inference", (6, 3, 5, 7)),
)


HALVES = tuple(replace(case, dtype=dtype) for case in (DROPOUT, BN, TINY[6]) for dtype in ("bfloat16", "float16"))


@pytest.fixture(autouse=True)
def same_isa_and_short_runs(monkeypatch: pytest.MonkeyPatch) -> Any:
    isa = fs.isa()
    monkeypatch.setattr(bench_run, "QUICK_S", 0.01)
    yield
    fs.set_isa(isa)


def name_of(case: Case) -> str:
    return f"{case.op}-{'x'.join(map(str, case.shape))}{'-residual' * case.residual}-{case.dtype}"


def run(case: Case, *others: peers.Peer) -> suite.CaseResult:
    return suite.run_case(case, PLAN, [fs.isa()], fs.num_threads(), others)


@pytest.mark.parametrize("case", TINY, ids=name_of)
def test_every_layer_is_checked_and_timed(case: Case) -> None:
    result = run(case, *NUMPY)
    here = [line for line in result.lines if not line.status.startswith("not installed")]
    assert {line.status for line in here} == {"timed"}
    assert len(here) >= 2 + 2 + 2  # 2 lines of memory copies (3 with torch), 2 lines of fusedstep, 2 lines of NumPy
    ours = result.ours(fs.isa())
    assert ours is not None and ours.error is not None and ours.error < 1
    assert ours.of_ours == {fs.isa(): (1.0, 1.0, 1.0)}
    assert ours.of_copy is not None and ours.of_copy[0] > 0
    assert (ours.of_alone is not None) == case.residual  # of_alone compares with the layer without residual


@pytest.mark.parametrize("case", HALVES, ids=name_of)
def test_layers_in_float16_and_bfloat16_are_checked_and_timed(case: Case) -> None:
    result = run(case, *NUMPY)
    ours = result.ours(fs.isa())
    assert ours is not None and ours.status == "timed" and ours.error is not None and ours.error < 1
    assert ours.bytes_per_element == replace(case, dtype="float32").bytes_per_element / 2
    assert {line.status for line in result.lines if line.name == "numpy"} == {
        "not available: the benchmark's NumPy code is for float32 only"
    }


def test_error_of_rounding_to_bfloat16_is_allowed_and_an_error_of_2_percent_is_wrong() -> None:
    """A result is right if `oracle.error`, the error divided by the allowed error, is at most 1."""
    job = Job(HALVES[2], 1)
    oracle = reference.Oracle(job)
    y = np.zeros(job.case.shape, np.float32)
    for k, channel in enumerate(oracle.want["y"].reshape(3, 6, 35)):
        y[:, k] = channel.reshape(6, 5, 7)
    assert oracle.error({"y": y.astype(job.dtype)}) < 1
    assert oracle.error({"y": (y * np.float32(1.02)).astype(job.dtype)}) > 1


@pytest.mark.torch
@pytest.mark.parametrize("case", (*TINY, *HALVES), ids=name_of)
def test_results_of_torch_pass_the_check_of_every_layer(case: Case, torch: Any) -> None:
    lines = run(case, *(peer for peer in peers.PEERS if peer.name == TORCH)).lines
    assert [line.status for line in lines if line.name == TORCH] == ["timed", "timed"]


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_memory_copy_that_is_compared_with_a_layer_moves_as_many_bytes_as_the_layer(case: Case) -> None:
    small = Case(case.name, case.op, (8, 4), residual=case.residual)
    copy = copies.Copy(Job(small, 1), copies.numpy_copy)
    assert copy.source.nbytes + copy.buffers[0].nbytes == small.bytes_per_element * small.elements


def test_cases_have_the_bytes_per_element_of_their_layers() -> None:
    """A layer that reads one float32 array and writes one has 8 bytes per element. A third array adds 4 bytes."""
    assert [case.bytes_per_element for case in TINY] == [8, 8, 8, 8, 8, 12, 12, 8]


def test_every_target_has_a_case() -> None:
    names = [case.name for case in cases.CASES]
    assert len(set(names)) == len(names)
    assert {target.case for target in cases.TARGETS} <= set(names)


class Scaled(NumPy):
    """An implementation with a small error in every element."""

    def outputs(self) -> Any:
        return {name: np.float32(1.001) * a for name, a in super().outputs().items()}


class Lazy(Ours):
    """An implementation that writes its output only in the first step."""

    def bn(self) -> Callable[[], object]:
        call, steps = super().bn(), []

        def once() -> object:
            steps.append(1)
            return call() if len(steps) == 1 else (self.buffers[0], None)

        return once


class Biased(NumPy):
    """An implementation that drops a tenth of the elements instead of half of them."""

    def dropout(self) -> Callable[[], object]:
        kept = np.random.default_rng(1).random(self.job.x.shape) >= 0.1
        return lambda: self.job.x * kept * np.float32(2)


def test_implementation_with_wrong_results_is_not_timed() -> None:
    line = run(BN, peers.Peer("scaled", Scaled, False)).lines[-1]
    assert line.status.startswith("WRONG") and line.seconds is None


def test_statistical_test_detects_a_wrong_probability_of_dropout() -> None:
    line = run(DROPOUT, peers.Peer("biased", Biased, False)).lines[-1]
    assert line.status.startswith("WRONG") and line.seconds is None


def test_benchmark_detects_an_implementation_that_stops_writing_its_output() -> None:
    line = run(BN, peers.Peer("lazy", partial(Lazy, out=True))).lines[-1]
    assert line.status == "WRONG: the last timed step gave wrong results" and line.seconds is None


def test_gradient_of_dropout_must_use_the_mask_of_the_forward_pass() -> None:
    job = Job(TINY[1], 1)
    dropped = fs.dropout(job.dy, cases.P, fs.Key(1))
    oracle = reference.Oracle(job)
    assert oracle.error({"dx": dropped, "forward": fs.dropout(job.x, cases.P, fs.Key(1))}) < 1
    assert oracle.error({"dx": dropped, "forward": fs.dropout(job.x, cases.P, fs.Key(2))}) == np.inf


def test_library_that_is_missing_or_raises_an_error_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(job: Job) -> Runner:
        raise OSError("no memory\nand more")

    result = run(BN, peers.Peer("absent", NumPy, needs=("a_package_that_nobody_has",)), peers.Peer("broken", broken))
    report.print_case(result)
    assert [line.status for line in result.lines[-2:]] == [
        "not installed: a_package_that_nobody_has",
        "failed: OSError: no memory",
    ]
    assert "OSError" in capsys.readouterr().out


def test_verdict_compares_the_ratio_with_the_target() -> None:
    """A target for torch is the smallest allowed value of torch's time divided by fusedstep's time.

    If torch has two lines, the smaller ratio counts. The instruction sets v4 and v3 have separate ratios.

    A target for COPY (the yardstick) is the largest allowed value of fusedstep's time per byte divided by the copy's
    time per byte. A target for ALONE uses fusedstep's batch norm without residual instead of the copy.
    """

    def line(name: str, out: bool, ratio: float, level: str = "", copy: float = 1.0) -> suite.Line:
        of_ours = {"v4": (ratio, ratio, ratio), "v3": (ratio / 2, ratio / 2, ratio / 2)}
        return suite.Line(name, out, level, seconds=1.0, of_ours=of_ours, of_copy=(copy, copy, copy))

    ours = [line("fusedstep v4", True, 1.0, "v4", 1.4), line("fusedstep v3", True, 2.0, "v3", 1.4)]
    ours[0].of_alone = (1.1, 1.0, 1.2)
    torch = [line(TORCH, False, 8.0), line(TORCH, True, 7.0), line("torch of another kind", True, 1.0)]
    results = {"c": suite.CaseResult(BN, ["v4", "v3"], [*ours, *torch])}

    def verdict(target: Target, level: str = "v4") -> tuple[float | None, bool | None]:
        entry = report.judge(target, level, results)
        return entry["value"], entry["met"]

    assert verdict(Target("c", TORCH, 5)) == (7.0, True)
    assert verdict(Target("c", TORCH, 5), "v3") == (3.5, False)
    assert verdict(Target("c", COPY, 1.3)) == (1.4, False)
    assert verdict(Target("c", COPY, 1.5), "v3") == (1.4, True)
    assert verdict(Target("c", ALONE, 1.2)) == (1.1, True)
    assert verdict(Target("c", ALONE, 1.2), "v3") == (None, None)
    assert verdict(Target("other", COPY, 1)) == (None, None)


def test_target_is_described_in_words() -> None:
    assert Target("c", COPY, 1.5).text() == "at most 1.5 x copy"
    assert Target("c", TORCH, 1).text() == "faster than torch"
    assert Target("c", TORCH, 40).text() == "at least 40 x as fast as torch"


def test_quick_run_works_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "run_case", partial(suite.run_case, others=NUMPY))
    file, isa = tmp_path / "results.json", fs.isa()
    assert command.main(["layers", "--quick", "--only", "bn/128x512", "--isa", isa, "--json", str(file)]) == 0
    assert f"Targets, isa {isa}" in capsys.readouterr().out
    document = json.loads(file.read_text())
    assert document["machine"]["isa"] == [isa]
    (case,) = document["cases"]
    assert case["bytes_per_element"] == 8
    assert len(case["lines"]) == 3 + 2 + 2  # 3 copies, 2 lines of fusedstep, 2 lines of NumPy
    assert case["yardstick"].startswith(COPY)
    assert {t["met"] for t in document["targets"] if t["case"] == "dropout/32M"} == {None}


@pytest.mark.skipif(fs.isa() != "v4", reason="needs AVX-512")
def test_benchmark_on_a_cpu_with_avx512_also_times_the_avx2_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(suite, "run_case", partial(suite.run_case, others=()))
    assert command.main(["layers", "--quick", "--only", "bn/128x512"]) == 0
    out = capsys.readouterr().out
    assert all(text in out for text in ("fusedstep v3", "Targets, isa v4", "Targets, isa v3"))
    assert fs.isa() == "v4"


@pytest.mark.torch
def test_the_copy_by_torch_copies_every_element(torch: Any) -> None:
    copy = copies.Copy(Job(BN, 1), copies.torch_copy)
    copy.step()
    assert np.array_equal(copy.source, copy.buffers[0])
