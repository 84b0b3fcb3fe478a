"""``fusedstep bench`` compares the times of fusedstep and of other installed libraries on this machine.

It writes a file of results, and a picture of them if Matplotlib is installed.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .._base.optional import MissingPackage
from ._errors import UsageError
from ._folder import open_folder, set_aside

FILES = RESULTS, PICTURE = "results.json", "speedup.png"
PACKAGES = {"sklearn": "scikit-learn"}
# Environment variables that torch and JAX read when they are imported. With these values, torch uses huge pages, as
# NumPy does, and JAX uses the CPU.
VARIABLES = {"THP_MEM_ALLOC_ENABLE": "1", "JAX_PLATFORMS": "cpu"}


def run(args: argparse.Namespace) -> int:
    """Compare fusedstep with other libraries, and print and draw the results. Return 0 or 1.

    The result is 1 if a case was started but fusedstep's time was not measured, for example because fusedstep computed
    a wrong result. Cases that fusedstep cannot run because a package is not installed do not count.
    """
    folder = open_folder(args.out, FILES)
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    from .._bench.run import Options, Run
    from .._bench.suites import QUICK_SUITES

    options = Options(
        args.only is None, args.only, args.threads, minutes=args.minutes, json=folder / RESULTS, targets=False
    )
    try:
        measured = Run(options, QUICK_SUITES)
    except ValueError as error:
        raise UsageError(str(error)) from None
    set_aside(folder, FILES)
    status = measured.start()
    document = json.loads((folder / RESULTS).read_text("utf-8"))
    for text in [*outcome(document), *files(document, folder)]:
        print(text)
    return status


def outcome(document: Mapping[str, Any]) -> Iterable[str]:
    """Yield the results of the comparisons in words, and the names of the libraries that are not installed."""
    from .._bench import records, verdicts
    from .._bench.common import ABSENT

    every = list(records.records(document))
    yield verdicts.outcome("other libraries", [r.over_ours for r in every if r.is_peer and r.over_ours])
    statuses = [r.status.removeprefix(ABSENT) for r in every if r.status.startswith(ABSENT)]
    if absent := sorted({PACKAGES.get(name, name) for status in statuses for name in status.split(", ")}):
        yield f"Not compared, because they are not installed: {', '.join(absent)}."


def files(document: Mapping[str, Any], folder: Path) -> Iterable[str]:
    """Draw the picture. Yield a line for each written file, or the reason why there is no picture."""
    from .._bench import pictures, records, rows

    lines = list(records.records(document))
    cases = dict.fromkeys(r.case for r in lines)
    shown = [row for case in cases for row in rows.rows_of(case, [r for r in lines if r.case == case and r.over_ours])]
    yield f"written: {folder / RESULTS}"
    try:
        if pictures.draw(shown, folder / PICTURE):
            yield f"written: {folder / PICTURE}"
    except MissingPackage as error:
        yield f"no picture: {error}"
