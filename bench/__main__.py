"""The command `python -m bench`. The option `--help` lists its subcommands and options."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

COMMANDS = ("all", "report", "compare", "instructions")
EPILOG = """
Without a command, all suites run, and the results are written to results.json. The command "report" makes tables and
pictures from such a file. The command "compare" compares two such files. "python -m bench all --help" lists the options
of a run (--quick, --only PATTERN, ...).
"""


def build_parser() -> argparse.ArgumentParser:
    from .suites import SUITES

    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Compare fusedstep with other libraries.", epilog=EPILOG
    )
    commands = parser.add_subparsers(dest="command", required=True)
    suites = commands.add_parser("all", help="run every suite (the default)")
    suites.set_defaults(run=run_suites, suites=SUITES)
    add_options(suites, Path("results.json"))
    for suite in SUITES:
        command = commands.add_parser(suite.name, help=suite.about)
        command.set_defaults(run=run_suites, suites=(suite,))
        add_options(command, None)
    report = commands.add_parser("report", help="write the tables and pictures of README and the docs")
    report.add_argument("results", type=Path, nargs="?", help="the file of a run (default: the stored results)")
    report.add_argument("--disturbed", action="store_true", help="accept results that other processes disturbed")
    report.set_defaults(run=run_report)
    compare = commands.add_parser("compare", help="compare two runs; the exit status is 1 if the new run is slower")
    compare.add_argument("old", type=Path, help="the file of the old run")
    compare.add_argument("new", type=Path, help="the file of the new run")
    compare.add_argument(
        "--tolerance", type=float, default=0.2, metavar="X", help="allowed relative change of a time (%(default)s)"
    )
    compare.set_defaults(run=run_compare)
    instructions = commands.add_parser("instructions", help="count the instructions of small steps, with valgrind")
    instructions.add_argument("--update", action="store_true", help="store the counts, plus 10%%, as new ceilings")
    instructions.set_defaults(run=run_instructions)
    return parser


def add_options(parser: argparse.ArgumentParser, file: Path | None) -> None:
    option = parser.add_argument
    option("--quick", action="store_true", help="run a few cases in less than a minute, with wide intervals")
    option("--only", metavar="PATTERN", help="run cases whose name contains or matches PATTERN, such as 'adam/*'")
    option("--isa", metavar="LEVEL", help="instruction set: v2, v3 or v4 (default: the best; layers: v4 and v3)")
    option("--threads", type=int, metavar="N", help="threads of every library (default: as many as fusedstep uses)")
    option("--memory", type=float, metavar="GIB", help="memory for a case's arrays (default: half of the free memory)")
    option("--minutes", type=float, metavar="M", help="time for all cases together (default: 9.5, with --quick 0.8)")
    text = "write all results, and facts about the machine, to FILE" + (" (%(default)s)" if file else "")
    option("--json", type=Path, metavar="FILE", default=file, help=text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit status.

    The status is 1 if a result is wrong, a time is missing, a new run is slower, or a step needs too many instructions.
    Otherwise it is 0. If the command line is wrong, the process exits with the status 2.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # With this variable, torch uses huge pages, as NumPy always does. torch reads the variable when it is imported.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        import fusedstep  # noqa: F401
    except ImportError as error:
        print(f"python -m bench: fusedstep cannot be imported ({error}); run pip install -e .", file=sys.stderr)
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
