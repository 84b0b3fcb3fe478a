"""Run one case: build every trainer, check its losses, time it, and compare its time with ours."""

from __future__ import annotations

import gc
import importlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any

from fusedstep._bench.common import ABSENT, why
from fusedstep._bench.harness import Lines, Ratio, Sampling, Timing, measure, ratio_interval

from .cases import Case
from .peers import DEFAULT, OURS, PEERS, Peer, Trainer

CHECKED_STEPS = 4
ALLOWED = 1e-3  # allowed relative difference of a loss from the loss of torch's default Adam, without dropout


@dataclass
class Line:
    """The results of one implementation in one case. `status` is "timed", or the reason why there is no time."""

    name: str
    status: str = "timed"
    error: float | None = None  # largest difference of the first losses, divided by the allowed difference
    seconds: float | None = None
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
            "bytes_per_element": 28,  # bytes that Adam reads and writes
            "lines": [line.as_dict() for line in self.lines],
        }


def run_case(case: Case, plan: Sampling, threads: int, peers: tuple[Peer, ...] = PEERS) -> CaseResult:
    """Time all implementations of one case in interleaved rounds."""
    result = CaseResult(case, [])
    trainers = build(case, threads, peers, result.lines)
    before = {name: trainer.snapshot() for name, trainer in trainers.items()}
    timings = measure(trainers, plan)
    result.mark_late(trainers, timings)
    for name, timing in timings.items():
        line, trainer = result.line(name), trainers[name]
        assert line is not None
        result.case = replace(case, elements=trainer.elements)
        if not all(p.isfinite().all() for p in trainer.parameters):
            line.status = "WRONG: a parameter is not finite after timing"
        elif any(bool((p == old).all()) for p, old in zip(trainer.parameters, before[name], strict=True)):
            line.status = "WRONG: the timed steps left a parameter unchanged"
        else:
            line.seconds, line.repeats, line.samples = timing.median, timing.repeats, timing.samples.tolist()
    trainers.clear()
    gc.collect()
    compare(result, timings)
    return result


def build(case: Case, threads: int, peers: tuple[Peer, ...], lines: list[Line]) -> dict[str, Trainer]:
    """Return the trainers whose first losses are right.

    Append a line to `lines` for each implementation that suits the network, also if its losses are wrong.
    """
    trainers: dict[str, Trainer] = {}
    for peer in peers:
        if not peer.suits(case.network):
            continue
        line = Line(peer.name)
        lines.append(line)
        if absent := peer.missing():
            line.status = f"{ABSENT}{', '.join(absent)}"
        elif trainer := build_one(case, peer, threads, line):
            trainers[peer.name] = trainer
    return trainers


def build_one(case: Case, peer: Peer, threads: int, line: Line) -> Trainer | None:
    """Return the trainer if its first losses (without dropout) are right. Otherwise write the reason into the line."""
    try:
        importlib.import_module("torch").set_num_threads(threads)
        wanted = torchs_losses(case)
        found = Trainer(case, peer, p=0.0).losses(CHECKED_STEPS)
        trainer = Trainer(case, peer)
    except Exception as problem:  # an error of one implementation must not stop the others
        line.status = why(problem)
        return None
    error = max(abs(a - b) / (ALLOWED * abs(b)) for a, b in zip(found, wanted, strict=True))
    line.error = error if math.isfinite(error) else None
    if error <= 1:
        return trainer
    line.status = f"WRONG: a loss differs from torch's loss by {error:.3g} x the allowed difference"
    return None


@cache
def torchs_losses(case: Case) -> list[float]:
    return Trainer(case, DEFAULT, p=0.0).losses(CHECKED_STEPS)


def compare(result: CaseResult, timings: Mapping[str, Timing]) -> None:
    """Set the ratios of all times to our time. The two times of a ratio are from the same rounds."""
    ours = result.line(OURS)
    for line in result.lines:
        if line.seconds is not None and ours is not None and ours.seconds is not None:
            line.over_ours = ratio_interval(timings[line.name].samples, timings[OURS].samples)
