"""The suites. Each suite has a list of cases, functions that run and print a case, and targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fusedstep as fs

from .harness import SHORT_S, Sampling
from .layers import cases as layer_cases
from .layers import report as layer_report
from .layers import suite as layer_suite
from .optim import cases as optim_cases
from .optim import report as optim_report
from .optim import suite as optim_suite
from .sklearn import cases as sklearn_cases
from .sklearn import report as sklearn_report
from .sklearn import suite as sklearn_suite
from .training import cases as training_cases
from .training import report as training_report
from .training import suite as training_suite

# The suite layers compares times with the time of a copy, and a difference of a few percent is important. After a call
# of another library, its threads spin (wait without sleeping) for about 5 ms. If the next step is shorter than
# LAYERS_SHORT_S, this changes its time by more than a few percent.
LAYERS_SHORT_S = 0.1


@dataclass(frozen=True)
class Setting:
    """The settings of a run, which are the same for all cases."""

    threads: int
    levels: Sequence[str]  # instruction sets with which our layers are timed
    memory: float  # largest number of bytes for the arrays of one case


@dataclass(frozen=True)
class Suite:
    """A group of cases, and the functions that run, print and judge them.

    `run` returns a result whose method `as_dict` returns a dict with the key "lines". `records.records` reads
    these lines.
    """

    name: str
    about: str
    cases: Callable[[Setting], Sequence[Any]]
    run: Callable[[Any, Sampling, Setting], Any]
    show: Callable[[Any], None]
    notes: Callable[[], None]
    judge: Callable[[Mapping[str, Any], Setting], list[dict[str, Any]]]
    budget_s: float  # seconds of one case
    short_s: float = SHORT_S


def run_optim(case: Any, plan: Sampling, setting: Setting) -> Any:
    return optim_suite.run_case(case, plan, setting.threads, setting.memory)


SUITES = (
    Suite(
        "optim",
        "optimizer steps for a tensor in DRAM, a tensor in cache, many small tensors and three models",
        lambda setting: optim_cases.optim_cases(fs.optim.registry),
        run_optim,
        optim_report.print_case,
        optim_report.print_notes,
        lambda results, setting: [optim_report.judge(target, results) for target in optim_cases.TARGETS],
        budget_s=1.5,
    ),
    Suite(
        "layers",
        "dropout and batch norm, compared with copies in memory and with other libraries",
        lambda setting: layer_cases.CASES,
        lambda case, plan, setting: layer_suite.run_case(case, plan, setting.levels, setting.threads),
        layer_report.print_case,
        layer_report.print_notes,
        lambda results, setting: [
            layer_report.judge(target, level, results) for level in setting.levels for target in layer_cases.TARGETS
        ],
        budget_s=3.0,
        short_s=LAYERS_SHORT_S,
    ),
    Suite(
        "training",
        "whole training steps of small networks",
        lambda setting: training_cases.CASES,
        lambda case, plan, setting: training_suite.run_case(case, plan, setting.threads),
        training_report.print_case,
        training_report.print_notes,
        lambda results, setting: [training_report.judge(target, results) for target in training_cases.TARGETS],
        budget_s=4.0,
    ),
    Suite(
        "sklearn",
        "fits and cross-validations of the classifiers of scikit-learn and of fusedstep",
        lambda setting: sklearn_cases.CASES,
        lambda case, plan, setting: sklearn_suite.run_case(case, plan),
        sklearn_report.print_case,
        sklearn_report.print_notes,
        lambda results, setting: [sklearn_report.judge(target, results) for target in sklearn_cases.TARGETS],
        budget_s=5.0,
    ),
    Suite(
        "scaling",
        "Adam's step for tensors of different sizes and for different numbers of threads",
        lambda setting: optim_cases.scaling_cases(setting.threads),
        run_optim,
        optim_report.print_case,
        optim_report.print_notes,
        lambda results, setting: [],
        budget_s=1.0,
    ),
)

QUICK_SUITES = SUITES[:-1]  # the suites of `fusedstep bench`
