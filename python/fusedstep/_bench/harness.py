"""Time several implementations in interleaved rounds in one process. Compute medians and intervals of ratios."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

SAMPLE_S = 100e-6  # a sample (several steps) is at least this long; the clock's resolution is much finer
SHORT_S = 5e-3  # if a step is shorter, cold caches and spinning threads of other libraries change its time much
TOO_SLOW = "left out: too slow for the remaining time"
LEAST_ROUNDS = 3  # fewest rounds, also on a busy machine, where every round takes long
# Before a sample, `settle` waits until idle threads sleep. SETTLE_S is the length of one wait: idle threads of OpenMP
# spin (wait without sleeping) for some ms. SETTLE_LIMIT_S is the limit of all waits before one sample: idle threads of
# OpenBLAS spin for 100 ms, and some threads spin forever.
SETTLE_S = 5e-3
SETTLE_LIMIT_S = 0.25
WARM_S = 3e-3  # after the waits, a core needs this time to reach its full speed and to fill the caches


Ratio = tuple[float, float, float]  # the ratio of two times, with its 95% interval


class Runner(Protocol):
    """One implementation of one case, with its arrays."""

    @property
    def step(self) -> Callable[[], object]: ...

    @property
    def refill(self) -> Callable[[], None] | None:
        """A function that is called before each step and is not timed, or None. It restores what a step changes."""


class NamedLine(Protocol):
    """The line of one implementation in the results of a case."""

    name: str
    status: str


L = TypeVar("L", bound=NamedLine)


class Lines(Generic[L]):
    """Base class of the results of a case: a line for each implementation."""

    lines: list[L]

    def line(self, name: str) -> L | None:
        return next((line for line in self.lines if line.name == name), None)

    def mark_late(self, built: Container[str], timings: Container[str]) -> None:
        """Set the status TOO_SLOW for each implementation whose name is in `built`, but not in `timings`."""
        for line in self.lines:
            if line.name in built and line.name not in timings:
                line.status = TOO_SLOW


@dataclass(frozen=True)
class Sampling:
    """How long, and in how many rounds, a case is timed. In a round, every implementation is timed once.

    The number of rounds is about `budget_s` / (seconds of a round), but at least `min_rounds` and at most `max_rounds`.
    If these rounds take longer than `limit_s` seconds, the case can end before `min_rounds` rounds.
    """

    budget_s: float = 4.0  # seconds of all rounds
    min_rounds: int = 11
    max_rounds: int = 151
    settle_s: float = SETTLE_S
    short_s: float = SHORT_S  # if a step is shorter than this, untimed steps are done before each sample
    warm_s: float = WARM_S  # least seconds of untimed steps before a sample
    # After `limit_s` seconds, a case ends as soon as it has LEAST_ROUNDS rounds. If the samples of one implementation
    # in LEAST_ROUNDS rounds would take longer than `limit_s`, the implementation is not timed.
    limit_s: float = math.inf


@dataclass(frozen=True)
class Timing:
    """The seconds per step in each round (`samples`), and the number of steps in a sample (`repeats`)."""

    samples: np.ndarray
    repeats: int

    @property
    def median(self) -> float:
        return float(np.median(self.samples))


def sample(runner: Runner, repeats: int) -> float:
    """Time `repeats` steps. Return the mean number of seconds per step."""
    step, refill, clock = runner.step, runner.refill, time.perf_counter
    if refill is None:
        start = clock()
        for _ in range(repeats):
            step()
        return (clock() - start) / repeats
    total = 0.0
    for _ in range(repeats):
        refill()
        start = clock()
        step()
        total += clock() - start
    return total / repeats


def warm(runner: Runner, repeats: int, seconds: float) -> None:
    """Run samples of `repeats` steps whose times are not used: at least one sample, and for at least `seconds`."""
    end = time.perf_counter() + seconds
    sample(runner, repeats)
    while time.perf_counter() < end:
        sample(runner, repeats)


def settle(seconds: float) -> None:
    """Wait until the threads of other libraries sleep, but at most about SETTLE_LIMIT_S seconds.

    The wait consists of pauses of `seconds` each. If the process used little CPU time during a pause, the wait ends.
    """
    end = time.perf_counter() + SETTLE_LIMIT_S
    while seconds > 0 and time.perf_counter() < end:
        used = time.process_time()
        time.sleep(seconds)
        if time.process_time() - used < seconds / 2:
            break


def calibrate(runner: Runner, sample_s: float = SAMPLE_S) -> tuple[int, float]:
    """Return a number of steps that together take at least `sample_s` seconds, and the seconds of one step."""
    for _ in range(2):
        sample(runner, 1)
    repeats = 1
    while (seconds := sample(runner, repeats)) * repeats < sample_s:
        repeats = max(2 * repeats, math.ceil(sample_s / max(seconds, 1e-9)))
    return repeats, seconds


def measure(
    runners: Mapping[str, Runner], plan: Sampling, seed: int = 0, before: Callable[[str], None] = lambda name: None
) -> dict[str, Timing]:
    """Time all runners in interleaved rounds. In a round, each runner is timed once, in a shuffled order.

    Before a runner is timed, `before` is called with its name. The time of this call is not counted. The
    result has no entry for a runner that is too slow for `plan.limit_s`.
    """
    with no_garbage_collection():
        repeats, is_short, cost = {}, {}, 0.0
        for name, runner in runners.items():
            before(name)
            number, seconds = calibrate(runner)
            if LEAST_ROUNDS * seconds * number > plan.limit_s:
                continue
            repeats[name] = number
            is_short[name] = seconds < plan.short_s
            cost += seconds * number + plan.settle_s
            if is_short[name]:
                cost += max(seconds * number, plan.warm_s)
        rounds = int(min(max(plan.budget_s / max(cost, 1e-9), plan.min_rounds), plan.max_rounds))
        samples: dict[str, list[float]] = {name: [] for name in repeats}
        # The order is shuffled, because in a fixed order each implementation would always run after the same other one.
        order, names, end = np.random.default_rng(seed), list(repeats), time.perf_counter() + plan.limit_s
        for done in range(rounds):
            if done >= LEAST_ROUNDS and time.perf_counter() > end:
                break
            for i in order.permutation(len(names)):
                name = names[i]
                before(name)
                settle(plan.settle_s)
                if is_short[name]:
                    warm(runners[name], repeats[name], plan.warm_s)
                samples[name].append(sample(runners[name], repeats[name]))
    return {name: Timing(np.array(values), repeats[name]) for name, values in samples.items()}


def ratio_interval(
    numerator: np.ndarray,
    denominator: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Ratio:
    """Return the ratio of the medians with its bootstrap interval: (ratio, low, high).

    ``numerator[i]`` and ``denominator[i]`` are the two times of round i. The bootstrap draws whole rounds: if the
    machine is slow in a round, both times are longer, and their ratio hardly changes.
    """
    rounds = len(numerator)
    if len(denominator) != rounds:
        raise ValueError(
            f"ratio_interval: denominator must have as many samples as numerator, {rounds}; got {len(denominator)}"
        )
    drawn = np.random.default_rng(seed).integers(0, rounds, (resamples, rounds))
    ratios = np.median(numerator[drawn], axis=1) / np.median(denominator[drawn], axis=1)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(ratios, [tail, 1.0 - tail])
    return float(np.median(numerator) / np.median(denominator)), float(low), float(high)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Disable Python's garbage collection until the ``with`` block ends."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
