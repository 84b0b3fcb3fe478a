"""The state of the machine during a benchmark (load and speed of the cores), and verdicts on ratios and targets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from fusedstep._bench import state, verdicts
from fusedstep._bench.state import Load

QUIET = Load(10.0, 0.02, 0.0)
CORES = [{0: 1.00, 1: 1.04}, {0: 1.01, 1: 1.00}]


@pytest.mark.parametrize(
    ("ratio", "word"),
    [
        ((2.0, 1.9, 2.1), "faster"),
        ((1.5, 1.01, 2.0), "faster"),
        ((1.02, 1.0, 1.05), "equal within the interval"),
        ((0.91, 0.8, 1.03), "equal within the interval"),
        ((0.91, 0.9, 0.99), "slower"),
    ],
)
def test_verdict_depends_on_whether_the_interval_contains_1(ratio: verdicts.Ratio, word: str) -> None:
    assert verdicts.verdict(ratio) == word
    assert verdicts.said(ratio).endswith(f"] {word}")


def test_lines_of_fusedstep_and_lines_without_a_ratio_have_no_verdict() -> None:
    """In the other lines of a table, a remark (if there is one) follows the verdict."""
    assert verdicts.said(None) == "-"
    assert verdicts.cells(None, mine=False) == ("-", "")
    assert verdicts.cells((1.0, 1.0, 1.0), mine=True) == ("1.00 [1.00, 1.00]", "")
    assert verdicts.cells((2.0, 1.9, 2.1), mine=False, remark="ready after 7.00 s")[1] == "faster, ready after 7.00 s"


@pytest.mark.parametrize(
    ("ratio", "at_most", "word"),
    [
        ((2.1, 2.0, 2.2), False, "met"),
        ((2.1, 1.9, 2.2), False, "met, but the target is within the interval"),
        ((1.9, 1.8, 2.0), False, "NOT MET, but the target is within the interval"),
        ((1.9, 1.8, 1.99), False, "NOT MET"),
        ((1.9, 1.8, 2.0), True, "met"),
        ((2.1, 2.01, 2.2), True, "NOT MET"),
    ],
)
def test_verdict_on_a_target_of_2_says_if_the_target_is_within_the_interval(
    ratio: verdicts.Ratio, at_most: bool, word: str
) -> None:
    assert verdicts.word(verdicts.held(ratio, 2.0, at_most)) == word


def test_a_target_without_a_measurement_is_reported_as_not_measured() -> None:
    assert verdicts.word({"met": None}) == "not measured"


def test_run_on_a_quiet_machine_is_not_reported_as_disturbed() -> None:
    found = state.summary(CORES, {"a": QUIET, "b": QUIET})
    assert found == {"distance": 1.04, "others": pytest.approx(0.02), "stolen": 0.0, "disturbed": []}


def test_run_with_a_slow_core_is_reported_as_disturbed() -> None:
    for cores in ([{0: 1.0, 1: 1.3}, CORES[0]], [CORES[0], {0: 1.3, 1: 1.0}]):
        (reason,) = state.summary(cores, {"a": QUIET})["disturbed"]
        assert reason == "the slowest core took 1.30 times as long as the fastest"


@pytest.mark.parametrize("load", [Load(10.0, 0.4, 0.0), Load(10.0, 0.0, 0.1)])
def test_run_is_disturbed_if_disturbed_cases_take_more_than_a_twentieth_of_its_time(load: Load) -> None:
    """A case is disturbed if other processes or a hypervisor use too many CPUs during the case."""
    assert load.is_disturbed and not QUIET.is_disturbed
    long, short = Load(190.0, 0.0, 0.0), Load(150.0, 0.0, 0.0)
    assert state.summary(CORES, {"a": long, "b": load})["disturbed"] == []
    (reason,) = state.summary(CORES, {"a": short, "b": load})["disturbed"]
    assert f"{load.others + load.stolen:.2f} in b; 1 of 2 measurements were disturbed" in reason


def test_load_is_the_mean_number_of_cpus_that_other_processes_and_the_hypervisor_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tick = os.sysconf("SC_CLK_TCK")
    rows: list[str] = []

    def stat(*cpus: tuple[int, int]) -> str:
        return "".join(f"cpu{n} {used} 0 0 9 0 0 0 {stolen} 0 0\n" for n, (used, stolen) in enumerate(cpus))

    now = {"seconds": 100.0, "own": 7.0}
    monkeypatch.setattr(state, "text_of", lambda path: rows[-1])
    monkeypatch.setattr(state, "usable_cores", lambda: [0, 1])
    monkeypatch.setattr(state, "own_seconds", lambda: now["own"])
    monkeypatch.setattr(state.time, "perf_counter", lambda: now["seconds"])
    rows.append(stat((0, 0), (0, 0), (0, 0)))
    watch = state.Watch()
    now.update(seconds=102.0, own=10.0)
    rows.append(stat((2 * tick, 0), (2 * tick, tick // 2), (2 * tick, 0)))  # this process may use only two of the CPUs
    # in 2 s, all processes together used 4 s of time on these two CPUs. This process used 3 of these 4 s. The
    # hypervisor took 0.5 s
    assert watch.load() == Load(2.0, others=0.5, stolen=0.25)


def test_cpu_time_of_a_running_child_counts_as_own_time() -> None:
    before = state.own_seconds()
    program = "import sys, time\nwhile time.process_time() < 0.3: pass\nprint(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout and child.stdin
        child.stdout.readline()
        used = state.own_seconds() - before
        child.stdin.close()
    assert used >= 0.25


def test_load_is_none_if_the_system_does_not_report_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "text_of", lambda path: "")
    assert state.Watch().load() is None and state.as_dict(None) is None
    assert state.summary([], {}) == {"distance": 1.0, "others": 0.0, "stolen": 0.0, "disturbed": []}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot choose the cores of a process")
@pytest.mark.thread_unsafe
def test_each_core_is_timed_alone_and_the_process_keeps_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getaffinity(0)
    seen: list[set[int]] = []

    def seconds(work: Callable[[], Any], repeats: int = 20) -> float:
        work()
        seen.append(set(os.sched_getaffinity(0)))
        return 1.0 + min(seen[-1])

    monkeypatch.setattr(state, "seconds_of", seconds)
    times = state.times_of_cores()
    assert os.sched_getaffinity(0) == before
    assert set(times) <= before and times == {core: 1.0 + core for core in times}
    assert all(len(cores) == 1 for cores in seen) and len(seen) == state.ROUNDS * len(times)
    assert state.distance({0: 2.0, 1: 3.0}) == 1.5


@pytest.mark.parametrize(("ratios", "kept"), [([1.04], 1.04), ([1.5, 1.2, 1.1], 1.1), ([1.5, 1.3, 1.4, 1.6, 1.4], 1.3)])
def test_cores_that_differ_are_measured_again_and_the_smallest_difference_is_used(
    monkeypatch: pytest.MonkeyPatch, ratios: list[float], kept: float
) -> None:
    measured = [{0: 1.0, 1: ratio} for ratio in ratios]
    monkeypatch.setattr(state, "times_of_cores", lambda: measured.pop(0))
    assert state.distance(state.core_times()) == kept
    assert not measured
