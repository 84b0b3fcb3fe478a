"""Run suites within a time limit. Results are printed and written to a file after every case."""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fusedstep as fs
from fusedstep import _core

from .._base.machine import available
from . import report, state, verdicts
from .common import ABSENT, Unmatched, missing, select
from .harness import Sampling
from .suites import Setting, Suite

QUICK_S = 0.25  # seconds for one case with --quick
QUICK_MINUTES, FULL_MINUTES = 0.8, 9.5
UNKNOWN_MEMORY = 8 * 2**30  # bytes of free memory that are assumed if the system does not report a number
LOOK_S = 0.3  # seconds for which the load of other processes is measured before the first case
LEAST_S = 0.1  # fewest seconds for one case, if little time remains
OVERRUN = 4.0  # time limit of a case / its budget


class Pace:
    """The remaining time of a run, and its division among the remaining cases.

    Some seconds are reserved for compilation. A case in which a library compiles gets seconds of this reserve, in
    addition to its share of the time.
    """

    def __init__(self, minutes: float, cases: int, reserved: float = 0.0) -> None:
        self.end, self.left, self.reserved = time.perf_counter() + 60 * minutes, cases, reserved
        self.spent = [0.0]  # by how many seconds each finished case exceeded its budget
        self.began = 0.0  # start of the current case

    def begin(self, plan: Sampling, reserve: float = 0.0) -> Sampling | None:
        """Begin a case. Return `plan` with the budget and the time limit of this case, or None if no time remains.

        `reserve` is the number of seconds that are reserved for the compilations of this case.
        """
        self.began, self.own = time.perf_counter(), reserve
        if self.began >= self.end:
            return None
        share = (self.end - self.began - self.reserved) / max(self.left, 1) - sum(self.spent) / len(self.spent)
        self.reserved -= reserve
        self.budget = min(max(share, LEAST_S), plan.budget_s)
        return replace(plan, budget_s=self.budget, limit_s=OVERRUN * self.budget)

    def done(self) -> None:
        self.left -= 1
        self.spent.append(max(0.0, time.perf_counter() - self.began - self.budget - self.own))


@dataclass(frozen=True)
class Options:
    """The user's options. None means that the default is used."""

    quick: bool = False
    only: str | None = None
    threads: int | None = None
    isa: str | None = None
    memory: float | None = None  # GiB
    minutes: float | None = None
    json: Path | None = None
    targets: bool = True  # False if the targets are not printed


def limit_threads(threads: int | None) -> int:
    """Give all implementations the same number of threads. Return this number.

    The CPU affinity (the cores on which the process may run) limits the threads that a library starts from now on. For
    XLA, JAX's compiler, this is the only limit. BLAS started its threads earlier, when NumPy was imported. If
    threadpoolctl is installed, it limits the threads of BLAS.
    """
    threads = fs.num_threads() if threads is None else threads
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if threads < 1 or (usable and threads > len(usable)):
        raise ValueError(f"--threads must be between 1 and {len(usable)} here; got {threads}")
    if threads < len(usable):
        os.sched_setaffinity(0, usable[:threads])
    if not missing(["threadpoolctl"]):
        pools: Any = importlib.import_module("threadpoolctl")
        pools.threadpool_limits(threads)
    fs.set_num_threads(threads)
    return threads


def setting_of(args: Options) -> Setting:
    if args.isa:
        fs.set_isa(args.isa)
    threads = limit_threads(args.threads)
    levels = [fs.isa()] if args.isa or fs.isa() != "v4" else ["v4", "v3"]
    memory = (available() or UNKNOWN_MEMORY) / 2 if args.memory is None else args.memory * 2**30
    return Setting(threads, levels, memory)


def chosen(suites: Sequence[Suite], setting: Setting, only: str | None, quick: bool) -> list[tuple[Suite, Any]]:
    """Return the selected cases of all suites, as pairs (suite, case).

    Raises
    ------
    ValueError
        If no case matches the pattern.
    """
    picked, unmatched = [], None
    for suite in suites:
        try:
            picked += [(suite, case) for case in select(suite.cases(setting), only, quick)]
        except Unmatched as problem:
            unmatched = unmatched or problem
    if unmatched and not picked:
        raise unmatched
    return picked


class Run:
    """A run and its results so far."""

    def __init__(self, args: Options, suites: Sequence[Suite]) -> None:
        """Choose the cases. Raise ValueError if an option is wrong or no case is chosen."""
        self.setting = setting_of(args)
        self.cases = chosen(suites, self.setting, args.only, args.quick)
        if len(suites) > 1 and not args.only:
            self.cases = [(suite, case) for suite, case in self.cases if not of_one_suite(case)]
        self.cases.sort(key=lambda pair: importance(pair[1]))
        self.suites = [suite for suite in suites if any(s is suite for s, _ in self.cases)]
        self.quick, self.path, self.targets = args.quick, args.json, args.targets
        self.minutes = args.minutes or (QUICK_MINUTES if args.quick else FULL_MINUTES)
        self.facts = report.machine(self.setting.threads) | {"isa": list(self.setting.levels), "minutes": self.minutes}
        self.loads: dict[str, state.Load] = {}
        self.cores: list[dict[int, float]] = []
        self.results: dict[str, dict[str, Any]] = {suite.name: {} for suite in self.suites}
        self.late: list[str] = []

    def start(self) -> int:
        """Run all cases. Return 1 if the results of a started case contain no time for fusedstep, else 0.

        For example, there is no time if fusedstep's result is wrong. A case does not count if fusedstep needs a package
        for it that is not installed.
        """
        if not missing(["torch"]):  # imported now, so that fusedstep uses torch's OpenMP in all cases
            importlib.import_module("torch")
        fs.num_threads()  # this call chooses between OpenMP and fusedstep's own threads
        self.facts["backend"] = _core.backend()
        self.look("the time before the first case")
        report.print_machine(self.facts)
        for suite in self.suites:
            print(f"\n{suite.name}: {suite.about}")
            suite.notes()
        self.pace = Pace(self.minutes, len(self.cases), sum(reserve_of(case) for _, case in self.cases))
        for number, (suite, case) in enumerate(self.cases, start=1):
            self.run_one(suite, case, number)
        for suite in self.suites if self.targets else ():
            for heading, rows in headed(suite.judge(self.results[suite.name], self.setting)):
                verdicts.print_targets(rows, heading)
        if self.late:
            print(f"No time was left for {', '.join(self.late)}. Try --minutes {2 * self.minutes:g}.")
        self.look()
        report.print_warning(self.facts)
        if self.path:
            write(self.path, self.document())
        mine = [line for line in self.lines() if line["mine"] and line["seconds"] is None]
        return int(not all(line["status"].startswith(ABSENT) for line in mine))

    def look(self, waiting: str = "") -> None:
        """Measure the speed of the cores.

        If the name `waiting` is given, also measure the load of other processes, and store it under this name.
        """
        watch = state.Watch()
        self.cores.append(state.core_times())
        if waiting:
            time.sleep(LOOK_S)
            self.note(waiting, watch.load())
        self.facts["state"] = state.summary(self.cores, self.loads)

    def note(self, name: str, load: state.Load | None) -> None:
        if load is not None:
            self.loads[name] = load
        self.facts["state"] = state.summary(self.cores, self.loads)

    def run_one(self, suite: Suite, case: Any, number: int) -> None:
        plan, watch = self.pace.begin(plan_of(suite, self.quick), reserve_of(case)), state.Watch()
        if plan is None:
            self.late.append(case.name)
            return
        print(f"[{number}/{len(self.cases)}] {case.name}", file=sys.stderr, flush=True)
        result = self.results[suite.name][case.name] = suite.run(case, plan, self.setting)
        self.note(case.name, watch.load())
        suite.show(result)
        self.pace.done()
        gc.collect()
        if self.path:
            write(self.path, self.document())

    def document(self) -> dict[str, Any]:
        figures = [
            {"suite": name} | result.as_dict() | {"load": state.as_dict(self.loads.get(result.case.name))}
            for name, of_suite in self.results.items()
            for result in of_suite.values()
        ]
        targets = [
            {"suite": suite.name} | entry
            for suite in self.suites
            for entry in suite.judge(self.results[suite.name], self.setting)
        ]
        return {"machine": self.facts, "cases": figures, "targets": targets, "out_of_time": self.late}

    def lines(self) -> list[dict[str, Any]]:
        return [line for case in self.document()["cases"] for line in case["lines"]]


def importance(case: Any) -> int:
    """Return 0 for cases of --quick, 1 for other cases, 2 for cases with a long compilation. Low numbers run first."""
    return 0 if case.quick else 1 if not reserve_of(case) else 2


def reserve_of(case: Any) -> float:
    """Return the seconds that are reserved for the compilations of a case."""
    return float(getattr(case, "reserve_s", 0.0))


def of_one_suite(case: Any) -> bool:
    """Return True if a run of several suites leaves the case out, to save time.

    The cases that are left out:

    - the cases with the models ResNet-18 and GPT-2, except the cases adam/* and full/*
    - the cases widths/*, which time narrow number formats
    - in the suite sklearn, the accuracies of the larger network (256-256), and the fits in float32
    """
    is_model = case.name.endswith(("/gpt2", "/resnet18")) and not case.name.startswith(("adam/", "full/"))
    return is_model or case.name.startswith("widths/") or case.name.endswith((" 256-256", " float32"))


def plan_of(suite: Suite, quick: bool) -> Sampling:
    if quick:
        return Sampling(QUICK_S, min_rounds=5)
    return Sampling(suite.budget_s, min_rounds=7, short_s=suite.short_s)


def headed(verdict: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return pairs (heading, verdicts): one pair, or one pair for each instruction set."""
    levels = dict.fromkeys(entry.get("isa", "") for entry in verdict)
    rows = {level: [entry for entry in verdict if entry.get("isa", "") == level] for level in levels}
    return [(f"Targets, isa {level}" if level else "Targets", rows[level]) for level in levels]


def write(path: Path, document: dict[str, Any]) -> None:
    """Replace the file atomically, so that the file is complete even if the run is interrupted."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(document, indent=1) + "\n")
    part.replace(path)
