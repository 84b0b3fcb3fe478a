"""Run one case: build every trainer, check its results, time it, and compare its time with ours."""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fusedstep import _core

from ..common import ABSENT, why
from ..harness import Lines, Ratio, Sampling, Timing, measure, ratio_interval
from .cases import Case
from .data import Job
from .peers import OURS, PEERS, YARDSTICK, Peer, Trainer
from .reference import CHECKED_STEPS, Oracle


@dataclass
class Line:
    """The results of one implementation in one case. `status` is "timed", or the reason why there is no time."""

    name: str
    status: str = "timed"
    error: float | None = None  # error of the weights, divided by the allowed error
    seconds: float | None = None  # time of one training step
    gflop_s: float | None = None  # billions of floating-point operations per second, in the matrix products
    over_yardstick: Ratio | None = None
    over_ours: Ratio | None = None
    repeats: int = 0
    samples: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"mine": self.name == OURS}


@dataclass
class CaseResult(Lines[Line]):
    case: Case
    lines: list[Line]

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.case.name,
            "what": self.case.describe(),
            "elements": self.case.elements,
            "bytes_per_element": self.case.bytes_per_element,
            "yardstick": YARDSTICK,
            "lines": [line.as_dict() for line in self.lines],
        }


def run_case(case: Case, plan: Sampling, threads: int, peers: tuple[Peer, ...] = ()) -> CaseResult:
    """Time all trainers of one case, each trainer once in every round.

    fusedstep uses its own threads, as in a process without torch's OpenMP.
    """
    usual = _core.backend()
    _core.set_backend("threads")
    try:
        return _run_case(Job(case, threads), plan, peers or PEERS)
    finally:
        _core.set_backend(usual)


def _run_case(job: Job, plan: Sampling, peers: tuple[Peer, ...]) -> CaseResult:
    result, oracle = CaseResult(job.case, []), Oracle(job)
    trainers = build(job, peers, oracle, result.lines)
    timings = measure(trainers, plan, before=lambda name: trainers[name].enter())
    result.mark_late(trainers, timings)
    for name, timing in timings.items():
        line = result.line(name)
        assert line is not None
        if not oracle.has_learnt(trainers[name].params()):
            line.status = "WRONG: the last pass did not reduce the loss"
            continue
        line.samples = (timing.samples / job.case.batches).tolist()
        line.seconds, line.repeats = timing.median / job.case.batches, timing.repeats
        line.gflop_s = job.case.flops / line.seconds / 1e9
    trainers.clear()
    gc.collect()
    compare(result, timings)
    return result


def build(job: Job, peers: tuple[Peer, ...], oracle: Oracle, lines: list[Line]) -> dict[str, Trainer]:
    """Return the trainers that are installed and give right results. Append a line to `lines` for every trainer."""
    trainers: dict[str, Trainer] = {}
    for peer in peers:
        line = Line(peer.name)
        lines.append(line)
        if absent := peer.missing():
            line.status = f"{ABSENT}{', '.join(absent)}"
        elif trainer := build_one(peer, job, oracle, line):
            trainers[peer.name] = trainer
    return trainers


def build_one(peer: Peer, job: Job, oracle: Oracle, line: Line) -> Trainer | None:
    """Return the trainer if the results of its first steps are right.

    Otherwise return None, and write into the line why the trainer is left out.
    """
    try:
        trainer = peer.build(job)
        trainer.enter()
        trainer.run(CHECKED_STEPS)
        error = oracle.error(trainer.params())
    except Exception as problem:  # an error of one peer must not stop the others
        line.status = why(problem)
        return None
    line.error = error if math.isfinite(error) else None
    if error <= 1:
        return trainer
    line.status = f"WRONG: the error is {error:.3g} x the allowed error"
    return None


def compare(result: CaseResult, timings: Mapping[str, Timing]) -> None:
    """Set in each line the time / the time of plain NumPy, and the time / our time."""
    for line in result.lines:
        for other, ratio in ((YARDSTICK, "over_yardstick"), (OURS, "over_ours")):
            base = result.line(other)
            if line.seconds is not None and base is not None and base.seconds is not None:
                setattr(line, ratio, ratio_interval(timings[line.name].samples, timings[other].samples))
