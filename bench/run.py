"""A run of suites within a time limit, printed and written to a file after every case."""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fusedstep as fs
from fusedstep import _core

from . import report
from .common import Unmatched, available_memory, missing, select
from .harness import Sampling
from .suites import Setting, Suite

QUICK_S = 0.25  # budget of one case
QUICK_MINUTES, FULL_MINUTES = 0.8, 9.5
LEAST_S = 0.1  # of a case that is late
OVERRUN = 4.0  # times its budget may a case take for as many rounds as are wanted


class Pace:
    """Divides the remaining time among the remaining cases."""

    def __init__(self, minutes: float, cases: int) -> None:
        self.end, self.left = time.perf_counter() + 60 * minutes, cases
        self.spent, self.began = [0.0], 0.0  # beyond the budget: building, checking, at least so many rounds

    def begin(self, plan: Sampling) -> Sampling | None:
        """Return the next case's plan, None when time is up."""
        self.began = time.perf_counter()
        if self.began >= self.end:
            return None
        share = (self.end - self.began) / max(self.left, 1) - sum(self.spent) / len(self.spent)
        self.budget = min(max(share, LEAST_S), plan.budget_s)
        return replace(plan, budget_s=self.budget, limit_s=OVERRUN * self.budget)

    def done(self) -> None:
        self.left -= 1
        self.spent.append(max(0.0, time.perf_counter() - self.began - self.budget))


def limit_threads(threads: int | None) -> int:
    """Give all implementations the same number of threads.

    Affinity is the only limit that every library's pool obeys: XLA has no other. BLAS made its pool when NumPy was
    imported.
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


def setting_of(args: argparse.Namespace) -> Setting:
    if args.isa:
        fs.set_isa(args.isa)
    threads = limit_threads(args.threads)
    levels = [fs.isa()] if args.isa or fs.isa() != "v4" else ["v4", "v3"]
    memory = available_memory() / 2 if args.memory is None else args.memory * 2**30
    return Setting(threads, levels, memory)


def chosen(suites: Sequence[Suite], setting: Setting, only: str | None, quick: bool) -> list[tuple[Suite, Any]]:
    """Pick the cases of all suites.

    Raises
    ------
    ValueError
        If none matches the pattern.
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

    def __init__(self, args: argparse.Namespace, suites: Sequence[Suite]) -> None:
        """Choose the cases; ValueError: none, or a wrong option."""
        self.setting = setting_of(args)
        self.cases = chosen(suites, self.setting, args.only, args.quick)
        if len(suites) > 1 and not args.only:
            self.cases = [(suite, case) for suite, case in self.cases if not of_one_suite(case)]
        self.cases.sort(key=lambda pair: importance(pair[1]))
        self.suites = [suite for suite in suites if any(s is suite for s, _ in self.cases)]
        self.quick, self.path = args.quick, args.json
        self.minutes = args.minutes or (QUICK_MINUTES if args.quick else FULL_MINUTES)
        self.facts = report.machine(self.setting.threads) | {"isa": list(self.setting.levels), "minutes": self.minutes}
        self.results: dict[str, dict[str, Any]] = {suite.name: {} for suite in self.suites}
        self.late: list[str] = []

    def start(self) -> int:
        """Return 0, or 1 if ours is wrong in any case."""
        if not missing(["torch"]):  # whose OpenMP ours shares: from the first case on, not from the second
            importlib.import_module("torch")
        fs.num_threads()  # looks which threads there are
        self.facts["backend"] = _core.backend()
        report.print_machine(self.facts)
        for suite in self.suites:
            print(f"\n{suite.name}: {suite.about}")
            suite.notes()
        self.pace = Pace(self.minutes, len(self.cases))
        for number, (suite, case) in enumerate(self.cases, start=1):
            self.run_one(suite, case, number)
        for suite in self.suites:
            for heading, rows in headed(suite.judge(self.results[suite.name], self.setting)):
                report.print_verdict(rows, heading)
        if self.late:
            print(f"No time was left for {', '.join(self.late)}: --minutes {2 * self.minutes:g} may do.")
        report.print_warning(self.facts)
        return int(any(line["mine"] and line["seconds"] is None for line in self.lines()))

    def run_one(self, suite: Suite, case: Any, number: int) -> None:
        plan = self.pace.begin(plan_of(suite, self.quick))
        if plan is None:
            self.late.append(case.name)
            return
        print(f"[{number}/{len(self.cases)}] {case.name}", file=sys.stderr, flush=True)
        result = self.results[suite.name][case.name] = suite.run(case, plan, self.setting)
        suite.show(result)
        self.pace.done()
        gc.collect()
        if self.path:
            write(self.path, self.document())

    def document(self) -> dict[str, Any]:
        figures = [
            {"suite": name} | result.as_dict()
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
    """Return the place in a run that may be too short: first what --quick takes."""
    return 0 if case.quick else 1


def of_one_suite(case: Any) -> bool:
    """Tell which cases run only if their suite is chosen alone, because ten minutes are too short for all.

    These are models for rules other than Adam, all widths, and the larger networks' accuracies and float32 fits of
    scikit-learn's.
    """
    is_model = case.name.endswith(("/gpt2", "/resnet18")) and not case.name.startswith(("adam/", "full/"))
    return is_model or case.name.startswith("widths/") or case.name.endswith((" 256-256", " float32"))


def plan_of(suite: Suite, quick: bool) -> Sampling:
    if quick:
        return Sampling(QUICK_S, min_rounds=5)
    return Sampling(suite.budget_s, min_rounds=7, short_s=suite.short_s)


def headed(verdict: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Sort a verdict under headings: one, or one per instruction set."""
    levels = dict.fromkeys(entry.get("isa", "") for entry in verdict)
    rows = {level: [entry for entry in verdict if entry.get("isa", "") == level] for level in levels}
    return [(f"Targets, isa {level}" if level else "Targets", rows[level]) for level in levels]


def write(path: Path, document: dict[str, Any]) -> None:
    """Replace the file atomically, so that an interrupted run leaves its results so far."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(document, indent=1) + "\n")
    part.replace(path)
