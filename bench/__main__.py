"""`python -m bench optim`: see `--help`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cases import Case

QUICK_S, FULL_S = 0.3, 4.0  # budget of one case


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="fusedstep against its strongest peers.")
    commands = parser.add_subparsers(dest="command", required=True)
    optim = commands.add_parser("optim", help="optimizer steps: time, bandwidth, roofline, ratios")
    option = optim.add_argument
    option("--quick", action="store_true", help="a subset in seconds; figures are rough")
    option("--only", metavar="PATTERN", help="cases whose name contains or matches this, as in 'adam/*'")
    option("--isa", metavar="LEVEL", help="instruction set of our kernels: v2, v3 or v4")
    option("--threads", type=int, metavar="N", help="of all implementations (default: what we may use)")
    option("--memory", type=float, default=5.5, metavar="GIB", help="for a case's arrays (%(default)s)")
    option("--json", type=Path, metavar="FILE", help="write every figure, and the machine, to FILE")
    return parser


def limit_threads(threads: int | None) -> int:
    """Give all implementations the same number of threads.

    Affinity is the only limit that every library's pool obeys: XLA has no other.
    """
    import fusedstep as fs

    threads = fs.num_threads() if threads is None else threads
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if threads < 1 or (usable and threads > len(usable)):
        raise ValueError(f"--threads must be between 1 and {len(usable)} here; got {threads}")
    if threads < len(usable):
        os.sched_setaffinity(0, usable[:threads])
    fs.set_num_threads(threads)
    return threads


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0, or 1 if ours is wrong in any case; a wrong command line exits with 2."""
    parser = build_parser()
    args = parser.parse_args(argv)
    # torch asks for huge pages, as NumPy always does, only if told to when it is imported.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        import fusedstep as fs
    except ImportError as error:
        parser.error(f"fusedstep cannot be imported ({error}); pip install -e . first")
    from . import cases

    try:
        if args.isa:
            fs.set_isa(args.isa)
        threads = limit_threads(args.threads)
        selected = cases.select(cases.optim_cases(fs.optim.registry), args.only, args.quick)
    except ValueError as error:
        parser.error(str(error))
    return run_optim(args, threads, selected)


def run_optim(args: argparse.Namespace, threads: int, selected: Sequence[Case]) -> int:
    from . import cases, harness, report, suite
    from .peers import OURS

    plan = harness.Plan(QUICK_S, min_rounds=5) if args.quick else harness.Plan(FULL_S)
    facts = report.machine(threads)
    report.print_machine(facts)
    results: dict[str, suite.CaseResult] = {}
    for i, case in enumerate(selected, start=1):
        print(f"[{i}/{len(selected)}] {case.name}", file=sys.stderr, flush=True)
        results[case.name] = suite.run_case(case, plan, threads, args.memory * 2**30)
        report.print_case(results[case.name])
    verdict = [report.judge(target, results) for target in cases.TARGETS]
    report.print_verdict(verdict)
    report.print_warning(facts)
    if args.json:
        figures = [result.as_dict() for result in results.values()]
        write_json(args.json, {"machine": facts, "plan": vars(plan), "cases": figures, "targets": verdict})
    ours = [line for result in results.values() if (line := result.line(OURS))]
    return int(any(line.seconds is None for line in ours))


def write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
