"""Schedules return the learning rates of their formulas and of torch's schedulers.

They accept huge step numbers, refuse wrong arguments, and can be pickled.
"""

from __future__ import annotations

import doctest
import itertools
import math
import pickle
from typing import Any

import numpy as np
import pytest

from fusedstep import schedules as s
from fusedstep.schedules import annealing, decay, plateau

HUGE = (2**31, 2**63 - 1, 10**30, 10**400)

# Each entry is (schedule, formula of the learning rate in step t). The first step is step 1.
FORMULAS = [
    (s.constant(0.3), lambda t: 0.3),
    (s.step(0.3, 7, 0.5), lambda t: 0.3 * 0.5 ** ((t - 1) // 7)),
    (s.exponential(0.3, 0.9), lambda t: 0.3 * 0.9 ** (t - 1)),
    (s.inverse_time(0.3, 0.2), lambda t: 0.3 / (1 + 0.2 * (t - 1))),
    (s.bengio(0.3, 11), lambda t: 0.3 * 11 / max(t, 11)),
    (s.cosine(0.3, 20, 0.1), lambda t: 0.1 + 0.1 * (1 + math.cos(math.pi * min(t - 1, 20) / 20))),
    (s.cosine_restarts(0.3, 8), lambda t: 0.15 * (1 + math.cos(math.pi * ((t - 1) % 8) / 8))),
    (s.warmup(s.exponential(0.3, 0.9), 4), lambda t: 0.3 * t / 5 if t <= 4 else 0.3 * 0.9 ** (t - 5)),
    (s.ReduceOnPlateau(0.3), lambda t: 0.3),
]
IDS = [type(schedule).__name__ for schedule, _ in FORMULAS]


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=IDS)
def test_schedule_returns_the_rates_of_its_formula(schedule: Any, formula: Any) -> None:
    for t in range(1, 60):
        assert schedule(t) == pytest.approx(formula(t), rel=1e-14, abs=1e-16)


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS[:7] + FORMULAS[8:], ids=IDS[:7] + IDS[8:])
def test_schedule_returns_the_given_rate_at_step_1(schedule: Any, formula: Any) -> None:
    """`warmup` is left out, because it starts with a lower rate."""
    assert schedule(1) == 0.3


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=IDS)
def test_rates_of_huge_step_numbers_are_between_0_and_lr(schedule: Any, formula: Any) -> None:
    """A step number may also be an integer of NumPy."""
    for t in HUGE:
        assert 0.0 <= schedule(t) <= 0.3
    assert schedule(np.int64(5)) == schedule(5)


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS, ids=IDS)
def test_schedule_refuses_step_numbers_below_1_and_fractions(schedule: Any, formula: Any) -> None:
    for t in (0, -3):
        with pytest.raises(ValueError, match=f"t must be an integer >= 1; got {t}"):
            schedule(t)
    with pytest.raises(TypeError, match=r"t must be the number of a step, an integer >= 1; got 1\.5"):
        schedule(1.5)


@pytest.mark.parametrize(("schedule", "formula"), FORMULAS[:8], ids=IDS[:8])
def test_schedules_are_frozen_and_can_be_pickled_and_rebuilt_from_their_repr(schedule: Any, formula: Any) -> None:
    """Attributes cannot be assigned. `eval(repr(schedule))`, and pickling and unpickling, give an equal schedule."""
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert eval(repr(schedule), vars(s)) == schedule
    with pytest.raises(AttributeError):
        schedule.lr = 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: s.constant(-1), r"constant: lr must be a finite number >= 0; got -1"),
        (lambda: s.constant(math.nan), r"constant: lr must be a finite number >= 0; got nan"),
        (lambda: s.constant("1"), r"constant: lr must be a finite number >= 0; got '1'"),  # type: ignore[arg-type]
        (lambda: s.step(1, 0), r"step: step_size must be an integer >= 1; got 0"),
        (lambda: s.step(1, 2.0), r"step: step_size must be an integer >= 1; got 2\.0"),  # type: ignore[arg-type]
        (lambda: s.step(1, 5, 1.5), r"step: gamma must be a number in \(0, 1\]; got 1\.5"),
        (lambda: s.exponential(1, 0), r"exponential: gamma must be a number in \(0, 1\]; got 0"),
        (lambda: s.inverse_time(1, -2), r"inverse_time: decay must be a finite number >= 0; got -2"),
        (lambda: s.bengio(1, 0), r"bengio: tau must be a finite number > 0; got 0"),
        (lambda: s.bengio(1, math.inf), r"bengio: tau must be a finite number > 0; got inf"),
        (lambda: s.cosine(1, 0), r"cosine: total_steps must be an integer >= 1; got 0"),
        (lambda: s.cosine(1, True), r"cosine: total_steps must be an integer >= 1; got True"),
        (lambda: s.cosine(1, 5, 2), r"cosine: min_lr must be at most lr \(1\); got 2"),
        (lambda: s.cosine_restarts(1, 5, 0), r"cosine_restarts: multiplier must be an integer >= 1; got 0"),
        (lambda: s.warmup(s.constant(1), -1), r"warmup: steps must be an integer >= 0; got -1"),
        (lambda: s.ReduceOnPlateau(1, mode="up"), r'mode must be "min" or "max"; got \'up\''),
        (lambda: s.ReduceOnPlateau(1, factor=2), r"factor must be a number in \(0, 1\]; got 2"),
        (lambda: s.ReduceOnPlateau(1, patience=-1), r"patience must be an integer >= 0; got -1"),
        (lambda: s.ReduceOnPlateau(1, min_lr=2), r"min_lr must be at most lr \(1\); got 2"),
    ],
)
def test_schedules_refuse_wrong_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_warmup_refuses_a_number_in_place_of_a_schedule() -> None:
    with pytest.raises(TypeError, match=r"warmup: schedule must be a function of the step; got 0\.1"):
        s.warmup(0.1, 5)  # type: ignore[arg-type]


def test_ends_cycle_is_true_at_the_last_step_of_each_cycle() -> None:
    """`cycle(t)` is (number of the cycle, number of the step in the cycle, length of the cycle).

    In the first step of each cycle, the learning rate is `lr` again.
    """
    eta = s.cosine_restarts(1.0, 3, 2)
    lengths = [3, 6, 12, 24]
    expected = [(i, p, n) for i, n in enumerate(lengths) for p in range(1, n + 1)]
    assert [tuple(eta.cycle(t)) for t in range(1, sum(lengths) + 1)] == expected
    ends = list(itertools.accumulate(lengths))
    assert [t for t in range(1, sum(lengths) + 1) if eta.ends_cycle(t)] == ends
    assert all(eta(t + 1) == 1.0 for t in ends)
    # Cycle k, of length 3 * 2**k, ends at step 3 * (2**(k+1) - 1). `ends_cycle` is exact for huge step numbers too.
    assert eta.ends_cycle(3 * (2**200 - 1))
    assert not eta.ends_cycle(3 * (2**200 - 1) + 1)


def test_reduce_on_plateau_reduces_the_rate_after_patience_and_waits_for_the_cooldown() -> None:
    eta = s.ReduceOnPlateau(1.0, factor=0.5, patience=2, cooldown=2, min_lr=0.3)
    rates = [eta.observe(1.0) for _ in range(12)]
    # All 12 metrics are 1.0. Metrics 2, 3 and 4 are not better than metric 1. After these three metrics, the rate is
    # halved, because `patience` allows only two such metrics in a row. Metrics 5 and 6 are in the cooldown. Metrics 7,
    # 8 and 9 are not better than metric 1. The rate is then min_lr, because half of 0.5 is less than min_lr.
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3]
    assert eta(10**9) == 0.3


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("level", [5.0, -5.0, 0.0, math.nan])
def test_reduce_on_plateau_reduces_the_rate_if_the_metric_is_constant(mode: str, level: float) -> None:
    eta = s.ReduceOnPlateau(1.0, patience=3, mode=mode)
    for _ in range(5):
        eta.observe(level)
    assert eta(1) == pytest.approx(0.1)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_reduce_on_plateau_keeps_the_rate_while_the_metric_improves(mode: str) -> None:
    eta = s.ReduceOnPlateau(1.0, patience=0, mode=mode)
    for metric in np.linspace(3, -3, 40) * (1 if mode == "min" else -1):
        assert eta.observe(float(metric)) == 1.0


def test_reduce_on_plateau_resumes_from_its_state() -> None:
    """`second` loads the state of `first` after four metrics. `whole` gets all metrics, and has the same rates.

    A pickled and unpickled copy has the state of the original.
    """
    metrics = [3.0, 2.0, 2.5, 2.4, 2.3, 1.9, 2.0, 2.0, 2.0, 2.0]
    whole = s.ReduceOnPlateau(1.0, factor=0.5, patience=1, cooldown=1)
    first = s.ReduceOnPlateau(1.0, factor=0.5, patience=1, cooldown=1)
    for metric in metrics[:4]:
        first.observe(metric)
    second = s.ReduceOnPlateau(7.0, factor=0.5, patience=1, cooldown=1)
    second.load_state_dict(first.state_dict())
    assert pickle.loads(pickle.dumps(first)).state_dict() == first.state_dict()
    rates = [whole.observe(metric) for metric in metrics]
    assert [second.observe(metric) for metric in metrics[4:]] == rates[4:]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"lr": 1.0}, "state must have the keys lr, best, bad, cooling"),
        (
            {"lr": -1.0, "best": 0.0, "bad": 0, "cooling": 0},
            r'state\["lr"\] must be a finite number >= 0; got -1',
        ),
        ({"lr": 1.0, "best": math.nan, "bad": 0, "cooling": 0}, r'state\["best"\] must be a number; got nan'),
        (
            {"lr": 1.0, "best": 0.0, "bad": -1, "cooling": 0},
            r'state\["bad"\] must be an integer >= 0; got -1',
        ),
    ],
)
def test_reduce_on_plateau_refuses_a_wrong_state_and_changes_nothing(state: dict[str, float], message: str) -> None:
    eta = s.ReduceOnPlateau(1.0)
    before = eta.state_dict()
    with pytest.raises(ValueError, match=message):
        eta.load_state_dict(state)
    assert eta.state_dict() == before


def test_rates_of_schedules_agree_with_torch(torch: Any) -> None:
    """The learning rate of torch's scheduler is read before each step."""
    schedulers = torch.optim.lr_scheduler

    def rates(make: Any, steps: int) -> list[float]:
        opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        scheduler, found = make(opt), []
        for _ in range(steps):
            found.append(opt.param_groups[0]["lr"])
            opt.step()
            scheduler.step()
        return found

    pairs = [
        (s.step(0.3, 7, 0.5), lambda o: schedulers.StepLR(o, 7, 0.5), 60),
        (s.exponential(0.3, 0.9), lambda o: schedulers.ExponentialLR(o, 0.9), 60),
        (s.cosine(0.3, 50, 0.1), lambda o: schedulers.CosineAnnealingLR(o, 50, 0.1), 51),
        (s.cosine_restarts(0.3, 5, 2), lambda o: schedulers.CosineAnnealingWarmRestarts(o, 5, 2), 60),
    ]
    for ours, theirs, steps in pairs:
        assert [ours(t) for t in range(1, steps + 1)] == pytest.approx(rates(theirs, steps), rel=1e-12)


def test_reduce_on_plateau_agrees_with_torch_for_positive_metrics(torch: Any) -> None:
    """For negative metrics, the rates differ: torch's class also counts slightly worse metrics as improvements."""
    metrics = 1 + np.random.default_rng(0).random(200)
    for mode in ("min", "max"):
        opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
        theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, mode, 0.9, 3, threshold=0.01, cooldown=2)
        ours = s.ReduceOnPlateau(0.3, factor=0.9, patience=3, mode=mode, threshold=0.01, cooldown=2)
        for metric in metrics:
            theirs.step(float(metric))
            assert ours.observe(float(metric)) == pytest.approx(opt.param_groups[0]["lr"], rel=1e-12)


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("module", [annealing, decay, plateau])
def test_docstring_examples_run(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0
