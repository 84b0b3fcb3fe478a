"""Run one case: build every implementation, check its results, time it, and compare its time with ours."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..common import ABSENT, why
from ..harness import Lines, Ratio, Sampling, Timing, measure, ratio_interval
from . import reference
from .array_peers import Roofline
from .cases import Case, bytes_per_element
from .job import Job, NumPyRunner
from .peers import AT, OURS, PEERS, ROOFLINE, Peer, line_up


@dataclass
class Line:
    """The results of one implementation in one case. `status` is "timed", or the reason why there is no time."""

    name: str
    status: str = "timed"
    error: float | None = None  # largest difference from the result in float64, divided by the allowed difference
    ready_s: float | None = None  # seconds until the end of the first step, for a library that compiles
    seconds: float | None = None
    gb_s: float | None = None
    over_yardstick: Ratio | None = None  # time / time of the roofline, with its 95% interval
    ratio: Ratio | None = None  # time / our time, with its 95% interval
    repeats: int = 0
    samples: list[float] = field(default_factory=list)

    @property
    def at(self) -> str:
        """Return the end of the name from AT on, for example " @2". If the name has no AT, return an empty text."""
        return "".join(self.name.partition(AT)[1:])

    @property
    def mine(self) -> bool:
        return self.name == OURS + self.at

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"mine": self.mine, "over_ours": self.ratio}


@dataclass
class CaseResult(Lines[Line]):
    case: Case
    bytes_per_element: int
    lines: list[Line]

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.case.name,
            "what": self.case.describe(),
            "shapes": [list(shape) for shape in self.case.shapes],
            "elements": self.case.elements,
            "bytes_per_element": self.bytes_per_element,
            "yardstick": ROOFLINE,
            "lines": [line.as_dict() for line in self.lines],
        }


@dataclass
class Room:
    """The memory for the arrays of one case. Implementations that do not fit are not timed."""

    job: Job
    limit: float
    used: float = 0.0
    temporaries: int = 0

    def take(self, peer: Peer) -> bool:
        array = 4.0 * self.job.case.elements
        arrays = 2 + self.job.states + self.job.case.full  # parameter, gradient, state, average
        temporaries = max(self.temporaries, peer.temporaries)
        source = 1  # the gradients that all runners copy
        if self.used + (arrays + temporaries + source) * array > self.limit:
            return False
        self.used, self.temporaries = self.used + arrays * array, temporaries
        return True


def run_case(case: Case, plan: Sampling, threads: int, memory: float, peers: tuple[Peer, ...] = ()) -> CaseResult:
    """Time all implementations of one case, each implementation once in every round."""
    job = Job(case, threads)
    size = np.dtype(case.states).itemsize
    result = CaseResult(case, bytes_per_element(job.states, case.full, size), [])
    runners = build(job, line_up(case, peers or PEERS), Room(job, memory), result.lines)
    before = {name: reference.picked(runner.params()) for name, runner in runners.items()}
    timings = measure(runners, plan, before=lambda name: runners[name].enter())
    result.mark_late(runners, timings)
    for name, timing in timings.items():
        line = result.line(name)
        assert line is not None
        after = [*runners[name].params(), *runners[name].averages()]
        if not all(np.isfinite(a).all() for a in after):
            line.status = "WRONG: the timed steps gave numbers that are not finite"
        elif (reference.picked(runners[name].params()) == before[name]).mean() > 0.5:
            line.status = "WRONG: the timed steps changed no parameters"
        else:
            line.seconds, line.repeats, line.samples = timing.median, timing.repeats, timing.samples.tolist()
    runners.clear()
    gc.collect()
    compare(result, timings)
    return result


def build(job: Job, peers: tuple[Peer, ...], room: Room, lines: list[Line]) -> dict[str, NumPyRunner]:
    """Return a runner for each implementation that is installed, fits into the memory and gives right results.

    Append a line to `lines` for every implementation, also for those without a runner.
    """
    runners: dict[str, NumPyRunner] = {}
    oracle = exact(job)
    for peer in peers:
        line = Line(peer.name)
        lines.append(line)
        if missing := peer.missing():
            line.status = f"{ABSENT}{', '.join(missing)}"
        elif not room.take(peer):
            line.status = f"left out: all arrays together need more than {room.limit / 2**30:.3g} GiB (--memory)"
        elif runner := build_one(peer, job, oracle, line):
            runners[peer.name] = runner
    return runners


def build_one(peer: Peer, job: Job, oracle: reference.Oracle, line: Line) -> NumPyRunner | None:
    """Return a runner of `peer`, or None if an error is raised or the first steps give wrong results.

    `line` takes the results of `peer`. If None is returned, `line.status` says why.
    """
    try:
        start, error = time.perf_counter(), 0.0
        runner = peer.build(job.with_threads(peer.threads))
        runner.enter()
        if not isinstance(runner, Roofline):
            take(runner, reference.GRADIENT_SCALES[0])
            line.ready_s = time.perf_counter() - start if peer.compiles else None
            error = check(runner, oracle)
    except Exception as problem:  # an error of one peer must not stop the others
        line.status = why(problem)
    else:
        line.error = error if math.isfinite(error) else None
        if error <= 1:
            return runner
        line.status = f"WRONG: the error is {error:.3g} x the allowed error"
    return None


def exact(job: Job) -> reference.Oracle:
    """Return the right results of the first steps."""
    if job.cls.element_wise:
        return reference.Oracle(job.params(), job.gradients, exact_step(job), job.case.full, job.case.is_narrow)
    return reference.WholeOracle(job.params(), job.gradients, lambda arrays: job.cls(arrays, **job.options))


def exact_step(job: Job) -> reference.MakeStep:
    """Return a function that takes float64 parameters and returns ``step(gradients, t)``, which updates them.

    The step uses the optimizer's formulas in NumPy. If `rule_of` finds no formulas, the step is fusedstep's own.
    """
    options = job.options
    rule = reference.rule_of(job.case.rule, job.cls, options)

    def make(p: np.ndarray) -> Callable[[np.ndarray, int], object]:
        if rule is None:
            optimizer = job.cls([p], **options)
            return lambda g, t: optimizer.step([g])
        state = reference.State()
        return lambda g, t: rule(p, g, state, t, options)

    return make


def take(runner: NumPyRunner, scale: float) -> None:
    """Do a step with the gradients times `scale`."""
    runner.load(scale)
    runner.step()


def check(runner: NumPyRunner, oracle: reference.Oracle) -> float:
    """Do all steps except the first, which is already done. Return the error divided by the allowed error.

    Each step uses the original gradients times a different factor. The error is the difference between the runner's
    results and those of `oracle`. It is infinite if a step had to set the gradients to zero and did not. At the end,
    the runner has its original gradients again.
    """
    for scale in reference.GRADIENT_SCALES[1:]:
        take(runner, scale)
    error = oracle.error(runner.params(), runner.averages())
    if runner.full and runner.in_place and any(g.any() for g in runner.grads()):
        error = math.inf
    runner.load()
    return error


def compare(result: CaseResult, timings: Mapping[str, Timing]) -> None:
    """Set in each line the bandwidth, the time / the roofline's time, and the time / our time."""
    for line in result.lines:
        if line.seconds is not None:
            line.gb_s = result.bytes_per_element * result.case.elements / line.seconds / 1e9
    for line in result.lines:
        if line.gb_s is None:
            continue
        roof, ours = result.line(ROOFLINE + line.at), result.line(OURS + line.at)
        if roof is not None and roof.gb_s is not None:
            line.over_yardstick = ratio_interval(timings[line.name].samples, timings[roof.name].samples)
        if ours is not None and ours.seconds is not None:
            line.ratio = ratio_interval(timings[line.name].samples, timings[ours.name].samples)
