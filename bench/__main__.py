"""`python -m bench`: see `--help`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

COMMANDS = ("all", "report", "compare", "instructions")
EPILOG = """
Without a command: all suites, written to results.json, which report and compare read. Options of a run (--quick,
--only PATTERN, ...): python -m bench all --help.
"""


def build_parser() -> argparse.ArgumentParser:
    from .suites import SUITES

    parser = argparse.ArgumentParser(
        prog="python -m bench", description="fusedstep against its strongest peers.", epilog=EPILOG
    )
    commands = parser.add_subparsers(dest="command", required=True)
    suites = commands.add_parser("all", help="every suite (the default)")
    suites.set_defaults(run=run_suites, suites=SUITES)
    add_options(suites, Path("results.json"))
    for suite in SUITES:
        command = commands.add_parser(suite.name, help=suite.about)
        command.set_defaults(run=run_suites, suites=(suite,))
        add_options(command, None)
    report = commands.add_parser("report", help="write README's table, docs/benchmarks.md and its pictures")
    report.add_argument("results", type=Path, nargs="?", help="of a run (default: the results in the repository)")
    report.add_argument("--disturbed", action="store_true", help="also of a disturbed machine; the tables say so")
    report.set_defaults(run=run_report)
    compare = commands.add_parser("compare", help="say what got slower or faster; status 1 if anything got slower")
    compare.add_argument("old", type=Path)
    compare.add_argument("new", type=Path)
    compare.add_argument(
        "--tolerance", type=float, default=0.2, metavar="X", help="beyond both intervals (%(default)s)"
    )
    compare.set_defaults(run=run_compare)
    instructions = commands.add_parser("instructions", help="count the instructions of small steps; status 1 if more")
    instructions.add_argument("--update", action="store_true", help="take what is counted for the new ceilings")
    instructions.set_defaults(run=run_instructions)
    return parser


def add_options(parser: argparse.ArgumentParser, file: Path | None) -> None:
    option = parser.add_argument
    option("--quick", action="store_true", help="a subset in less than a minute; figures are rough")
    option("--only", metavar="PATTERN", help="cases whose name contains or matches this, as in 'adam/*'")
    option("--isa", metavar="LEVEL", help="of our kernels: v2, v3 or v4 (default: the best; layers: with v4, v3 too)")
    option("--threads", type=int, metavar="N", help="of all implementations (default: what we may use)")
    option("--memory", type=float, metavar="GIB", help="for a case's arrays (default: half of what is free)")
    option("--minutes", type=float, metavar="M", help="for all cases together (default: 9.5, with --quick 0.8)")
    text = "write every figure, and the machine, to FILE" + (" (%(default)s)" if file else "")
    option("--json", type=Path, metavar="FILE", default=file, help=text)


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0, or 1 if something is wrong or slower; a wrong command line exits with 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    # With this variable torch uses huge pages, as NumPy always does. torch reads it at its import.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        import fusedstep  # noqa: F401
    except ImportError as error:
        print(f"python -m bench: fusedstep cannot be imported ({error}); pip install -e . first", file=sys.stderr)
        return 2
    parser = build_parser()
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words.insert(0, "all")
    args = parser.parse_args(words)
    try:
        return int(args.run(args))
    except (ValueError, OSError) as error:
        parser.error(str(error))


def run_suites(args: argparse.Namespace) -> int:
    from fusedstep._bench.run import Options, Run

    given = {field.name: getattr(args, field.name) for field in fields(Options) if hasattr(args, field.name)}
    return Run(Options(**given), args.suites).start()


def run_report(args: argparse.Namespace) -> int:
    from .publish import publish

    return publish(args.results, args.disturbed)


def run_compare(args: argparse.Namespace) -> int:
    from .compare import compare_files

    return compare_files(args.old, args.new, args.tolerance)


def run_instructions(args: argparse.Namespace) -> int:
    from .instructions import check

    return check(args.update)


if __name__ == "__main__":
    raise SystemExit(main())
