"""Invented results of a benchmark, for tests of reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

QUIET: dict[str, Any] = {"distance": 1.02, "others": 0.01, "stolen": 0.0, "disturbed": []}


def line(name: str, over_ours: float, over_yardstick: float = 1.0, **more: Any) -> dict[str, Any]:
    """Return the result of one program.

    `over_ours` is the program's time divided by fusedstep's time. `over_yardstick` is its time divided by the time of
    the program with which the case compares all others. Both get an interval of 2% around them.
    """

    def around(x: float) -> list[float]:
        return [x, 0.98 * x, 1.02 * x]

    figures = {"seconds": 1e-3 * over_ours, "gb_s": 12.3456789, "samples": [1.0, 2.0], "status": "timed"}
    ratios = {"over_ours": around(over_ours), "over_yardstick": around(over_yardstick)}
    return {"name": name, "mine": name == "fusedstep", **figures, **ratios, **more}


def document(ours: float = 1.0, torch: float = 2.0) -> dict[str, Any]:
    """Return the results of a run with one case.

    `ours` is fusedstep's time divided by the roofline's time. `torch` is torch's time divided by fusedstep's time.
    """
    lines = [line("fusedstep", 1.0, ours), line("roofline", 1 / ours), line("torch fused", torch)]
    absent = {"name": "numba", "mine": False, "status": "not installed: numba", "seconds": None}
    case = {"suite": "optim", "name": "adam/50M", "what": "Adam", "elements": 9, "bytes_per_element": 28}
    machine = {"cpu": "a CPU", "threads": 2, "isa": ["v4"], "versions": {"numpy": "2.0"}, "state": QUIET}
    return {
        "machine": machine,
        "cases": [case | {"yardstick": "roofline", "lines": [*lines, absent]}],
        "targets": [{"case": "adam/50M", "value": 1.23456789, "met": True}],
        "out_of_time": ["adam/gpt2"],
    }


def files(folder: Path, *documents: dict[str, Any]) -> list[str]:
    """Write each document to a file in the folder, and return the paths."""
    paths = [folder / f"{k}.json" for k in range(len(documents))]
    for path, content in zip(paths, documents, strict=True):
        path.write_text(json.dumps(content))
    return [str(path) for path in paths]
