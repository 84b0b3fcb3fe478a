"""Run one case: build every implementation, check its results, time it, and compare its time with others."""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

import fusedstep as fs

from ..common import ABSENT, missing, why
from ..harness import TOO_SLOW, Ratio, Sampling, Timing, measure, ratio_interval
from .cases import ALONE, COPY, Case
from .peers import PEERS, Peer, line_up
from .reference import Oracle
from .runner import Job, Runner


@dataclass
class Line:
    """The results of one implementation in one case. `status` is "timed", or the reason why there is no time."""

    name: str
    out: bool  # True if the result is written into given memory
    level: str = ""  # instruction set of fusedstep; empty for other libraries
    status: str = "timed"
    error: float | None = None  # largest difference from the result in float64, divided by the allowed difference
    bytes_per_element: int = 0
    seconds: float | None = None
    gb_s: float | None = None
    of_copy: Ratio | None = None  # time per byte / time per byte of the yardstick
    of_ours: dict[str, Ratio] = field(default_factory=dict)  # instruction set -> time / our time
    of_alone: Ratio | None = None  # time per byte / time per byte of our batch norm without residual
    repeats: int = 0
    samples: list[float] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.name}/{'out' if self.out else 'new'}"

    def as_dict(self, level: str) -> dict[str, Any]:
        mine = bool(self.level) and not self.name.endswith(ALONE)
        name = f"{self.name}, {'out' if self.out else 'new'}"
        ratios = {"over_yardstick": self.of_copy, "over_ours": self.of_ours.get(level)}
        return asdict(self) | {"name": name, "mine": mine} | ratios


@dataclass
class CaseResult:
    case: Case
    levels: Sequence[str]
    lines: list[Line]
    yardstick: str = ""

    def ours(self, level: str, out: bool = True) -> Line | None:
        mine = (line for line in self.lines if line.level == level and line.out == out)
        return next((line for line in mine if not line.name.endswith(ALONE)), None)

    def as_dict(self) -> dict[str, Any]:
        case = self.case
        return {
            "name": case.name,
            "what": case.describe(),
            "shape": list(case.shape),
            "elements": case.elements,
            "bytes_per_element": case.bytes_per_element,
            "yardstick": self.yardstick,
            "lines": [line.as_dict(self.levels[0]) for line in self.lines],
        }


def run_case(
    case: Case, plan: Sampling, levels: Sequence[str], threads: int, others: Sequence[Peer] = PEERS
) -> CaseResult:
    """Time all implementations of one case in interleaved rounds.

    fusedstep is timed with each instruction set in `levels`. At the end, fusedstep is set to ``levels[0]``.
    """
    job = Job(case, threads)
    result = CaseResult(case, levels, [])
    oracle = Oracle(job)
    runners = build(job, oracle, line_up(case, levels, others), result.lines)
    by_key = {line.key: line for line in result.lines}

    def before(key: str) -> None:
        if level := by_key[key].level:
            fs.set_isa(level)

    for runner in runners.values():
        runner.poison()
    timings = measure(runners, plan, before=before)
    for key in runners.keys() - timings.keys():
        by_key[key].status = TOO_SLOW
    for key, timing in timings.items():
        line = by_key[key]
        if error_of(runners[key], oracle, line, first=False) > 1:
            line.status = "WRONG: the last timed step gave wrong results"
            continue
        line.seconds, line.repeats, line.samples = timing.median, timing.repeats, timing.samples.tolist()
        line.gb_s = line.bytes_per_element * case.elements / timing.median / 1e9
    del runners
    gc.collect()
    fs.set_isa(levels[0])
    compare(result, timings)
    return result


def build(job: Job, oracle: Oracle, peers: Sequence[Peer], lines: list[Line]) -> dict[str, Runner]:
    """Return the runners that are installed and give right results. Append a line to `lines` for each peer."""
    runners: dict[str, Runner] = {}
    for peer in peers:
        line = Line(peer.name, peer.out, peer.level)
        lines.append(line)
        if absent := [*peer.missing(), *missing(job.case.needs)]:
            line.status = f"{ABSENT}{', '.join(absent)}"
        elif runner := build_one(peer, job, oracle, line):
            runners[line.key] = runner
    return runners


def build_one(peer: Peer, job: Job, oracle: Oracle, line: Line) -> Runner | None:
    """Return the runner if the results of its first step are right. Otherwise write the reason into the line."""
    try:
        if peer.level:
            fs.set_isa(peer.level)
        runner = peer.build(job)
        line.bytes_per_element = runner.bytes_per_element
        runner.poison()
        runner.step()
        error = error_of(runner, oracle, line)
    except Exception as problem:  # an error of one peer must not stop the others
        line.status = why(problem)
        return None
    line.error = error if math.isfinite(error) else None
    if error <= 1:
        return runner
    line.status = f"WRONG: the error is {error:.3g} x the allowed error"
    return None


def error_of(runner: Runner, oracle: Oracle, line: Line, first: bool = True) -> float:
    outputs = runner.outputs()
    if line.name.endswith(ALONE):  # another case checks the same kernel
        return 0.0 if all(np.isfinite(a).all() for a in outputs.values()) else math.inf
    return oracle.error(outputs, first)


def compare(result: CaseResult, timings: Mapping[str, Timing]) -> None:
    """Compute ratios for each timed implementation, and store them in `result`.

    In each round of the benchmark, every implementation is timed once. Both times of a ratio are from the same rounds.

    - `of_copy`: the time per byte, divided by the time per byte of the fastest copy of an array.
    - `of_alone`: the time per byte, divided by the time per byte of fusedstep's batch norm without residual and ReLU.
    - `of_ours`: the time per call, divided by the time per call of fusedstep.
    """
    timed = [line for line in result.lines if line.seconds is not None]
    per_byte = {line.key: timings[line.key].samples / line.bytes_per_element for line in timed}
    copies = [line for line in timed if line.name.startswith(COPY)]
    yardstick = min(copies, key=lambda line: line.seconds or math.inf, default=None)
    alone = {line.level: line.key for line in timed if line.name.endswith(ALONE)}
    result.yardstick = yardstick.name if yardstick else ""
    for line in timed:
        if yardstick:
            line.of_copy = ratio_interval(per_byte[line.key], per_byte[yardstick.key])
        if line.level in alone:
            line.of_alone = ratio_interval(per_byte[line.key], per_byte[alone[line.level]])
        for level in result.levels:
            ours = result.ours(level, line.out)
            if ours is not None and ours.seconds is not None:
                line.of_ours[level] = ratio_interval(timings[line.key].samples, timings[ours.key].samples)
