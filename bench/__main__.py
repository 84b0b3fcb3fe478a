"""`python -m bench optim` and `python -m bench layers`: see `--help`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

QUICK_S, OPTIM_S, LAYERS_S = 0.3, 4.0, 6.0  # budget of one case
LONG_S = 0.1  # layers are held to a few percent of a copy: a pool that spins for 5 ms shows in less than this


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="fusedstep against its strongest peers.")
    commands = parser.add_subparsers(dest="command", required=True)
    optim = commands.add_parser("optim", help="optimizer steps: time, bandwidth, roofline, ratios")
    optim.add_argument("--memory", type=float, default=5.5, metavar="GIB", help="for a case's arrays (%(default)s)")
    layers = commands.add_parser(
        "layers", help="dropout and batch norm: time, bandwidth, ratios to a copy and to peers"
    )
    optim.set_defaults(run=run_optim)
    layers.set_defaults(run=run_layers)
    add_options(optim, "instruction set of our kernels: v2, v3 or v4")
    add_options(layers, "instruction set of our kernels: v2, v3 or v4 (default: the best; with v4, v3 too)")
    return parser


def add_options(parser: argparse.ArgumentParser, isa: str) -> None:
    option = parser.add_argument
    option("--quick", action="store_true", help="a subset in seconds; figures are rough")
    option("--only", metavar="PATTERN", help="cases whose name contains or matches this, as in 'adam/*'")
    option("--isa", metavar="LEVEL", help=isa)
    option("--threads", type=int, metavar="N", help="of all implementations (default: what we may use)")
    option("--json", type=Path, metavar="FILE", help="write every figure, and the machine, to FILE")


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
    try:
        if args.isa:
            fs.set_isa(args.isa)
        threads = limit_threads(args.threads)
        start = args.run(args, threads)
    except ValueError as error:
        parser.error(str(error))
    return start()


def run_optim(args: argparse.Namespace, threads: int) -> Callable[[], int]:
    """Choose the cases (ValueError: none); return what runs them."""
    import fusedstep as fs

    from . import common, harness
    from . import report as shared
    from .optim import cases, report, suite
    from .optim.peers import OURS

    selected = common.select(cases.optim_cases(fs.optim.registry), args.only, args.quick)
    plan = harness.Plan(QUICK_S, min_rounds=5) if args.quick else harness.Plan(OPTIM_S)

    def start() -> int:
        facts = introduce(threads, report.print_notes)
        results: dict[str, suite.CaseResult] = {}
        for case in announced(selected):
            results[case.name] = suite.run_case(case, plan, threads, args.memory * 2**30)
            report.print_case(results[case.name])
        verdict = [report.judge(target, results) for target in cases.TARGETS]
        shared.print_verdict(verdict)
        conclude(args.json, facts, plan, list(results.values()), verdict)
        ours = [line for result in results.values() if (line := result.line(OURS))]
        return int(any(line.seconds is None for line in ours))

    return start


def run_layers(args: argparse.Namespace, threads: int) -> Callable[[], int]:
    """Choose the cases (ValueError: none); return what runs them."""
    import fusedstep as fs

    from . import common, harness
    from .layers import cases, report, suite

    selected = common.select(cases.CASES, args.only, args.quick)
    plan = harness.Plan(QUICK_S, min_rounds=5) if args.quick else harness.Plan(LAYERS_S, min_rounds=7, short_s=LONG_S)
    levels = [fs.isa()] if args.isa or fs.isa() != "v4" else ["v4", "v3"]

    def start() -> int:
        facts = introduce(threads, report.print_notes) | {"isa": levels}
        results: dict[str, suite.CaseResult] = {}
        for case in announced(selected):
            results[case.name] = suite.run_case(case, plan, levels, threads)
            report.print_case(results[case.name])
        verdict = [report.judge(target, level, results) for level in levels for target in cases.TARGETS]
        report.print_verdict(verdict)
        conclude(args.json, facts, plan, list(results.values()), verdict)
        ours = [line for result in results.values() for line in result.lines if line.level]
        return int(any(line.seconds is None for line in ours))

    return start


def introduce(threads: int, print_notes: Callable[[], None]) -> dict[str, Any]:
    from . import report

    facts = report.machine(threads)
    report.print_machine(facts)
    print_notes()
    return facts


def announced(selected: Sequence[Any]) -> Any:
    """Yield the cases, each named on the terminal first."""
    for i, case in enumerate(selected, start=1):
        print(f"[{i}/{len(selected)}] {case.name}", file=sys.stderr, flush=True)
        yield case


def conclude(
    path: Path | None, facts: dict[str, Any], plan: Any, results: Sequence[Any], verdict: list[dict[str, Any]]
) -> None:
    """Warn if the figures mean little; write everything to a file if one is named."""
    from . import report

    report.print_warning(facts)
    if path:
        figures = [result.as_dict() for result in results]
        write_json(path, {"machine": facts, "plan": vars(plan), "cases": figures, "targets": verdict})


def write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
