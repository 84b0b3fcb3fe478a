"""The suites: those of the package, and training in PyTorch."""

from __future__ import annotations

from fusedstep._bench.suites import SUITES as SHIPPED
from fusedstep._bench.suites import Suite

from .torch import cases as torch_cases
from .torch import report as torch_report
from .torch import suite as torch_suite

TORCH = Suite(
    "torch",
    "training loops in PyTorch, with torch's optimizers and layers and with ours",
    lambda setting: torch_cases.CASES,
    lambda case, plan, setting: torch_suite.run_case(case, plan, setting.threads),
    torch_report.print_case,
    torch_report.print_notes,
    lambda results, setting: [torch_report.judge(target, results) for target in torch_cases.TARGETS],
    budget_s=4.0,
)

SUITES = (*SHIPPED[:-1], TORCH, SHIPPED[-1])  # scaling, which may be late, at the end
