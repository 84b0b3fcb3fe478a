"""The suites (groups of timed cases) of the repository.

They are the suites of the package and training in PyTorch. The suite of optimizer steps also has the cases `widths/*`,
which time steps with 16-bit and 8-bit formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fusedstep._bench.harness import Sampling
from fusedstep._bench.suites import SUITES as SHIPPED
from fusedstep._bench.suites import Setting, Suite

from .torch import cases as torch_cases
from .torch import report as torch_report
from .torch import suite as torch_suite
from .widths import speed as widths

STEPS = SHIPPED[0]


def run_steps(case: Any, plan: Sampling, setting: Setting) -> Any:
    if isinstance(case, widths.WidthCase):
        return widths.run_case(case, plan, setting.threads, setting.memory)
    return STEPS.run(case, plan, setting)


def show_steps(result: Any) -> None:
    (widths.print_case if isinstance(result, widths.WidthResult) else STEPS.show)(result)


def judge_steps(results: Mapping[str, Any], setting: Setting) -> list[dict[str, Any]]:
    of_widths = (target for target in widths.targets() if target.case in results)
    return STEPS.judge(results, setting) + [widths.judge(target, results, setting.levels[0]) for target in of_widths]


OPTIM = replace(
    STEPS,
    cases=lambda setting: (*STEPS.cases(setting), *widths.CASES),
    run=run_steps,
    show=show_steps,
    judge=judge_steps,
)
TORCH = Suite(
    "torch",
    "training loops in PyTorch, with the optimizers and layers of torch and of fusedstep",
    lambda setting: torch_cases.CASES,
    lambda case, plan, setting: torch_suite.run_case(case, plan, setting.threads),
    torch_report.print_case,
    torch_report.print_notes,
    lambda results, setting: [torch_report.judge(target, results) for target in torch_cases.TARGETS],
    budget_s=4.0,
)

SUITES = (OPTIM, *SHIPPED[1:-1], TORCH, SHIPPED[-1])  # scaling is last: if time is short, it may be left out
