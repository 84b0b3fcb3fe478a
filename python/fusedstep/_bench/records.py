"""Read, shorten and write files of results, and iterate over the lines in them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .harness import Ratio

FIELDS = ("name", "mine", "status", "ready_s", "seconds", "gb_s", "over_yardstick", "over_ours")
CASE_FIELDS = ("suite", "name", "what", "elements", "bytes_per_element", "yardstick", "load")
MACHINE_FIELDS = ("cpu", "threads", "isa", "versions")
YARDSTICKS = ("roofline", "copy: ")  # if a line's name starts with one of these, the line is not about a library


@dataclass(frozen=True)
class Record:
    """The results of one implementation in one case."""

    suite: str
    case: str
    what: str
    name: str
    mine: bool
    status: str
    seconds: float | None
    gb_s: float | None
    over_yardstick: Ratio | None
    over_ours: Ratio | None
    ready_s: float | None = None  # seconds until the end of the first step, for a library that compiles

    @property
    def is_peer(self) -> bool:
        return not self.mine and not self.name.startswith(YARDSTICKS) and not self.name.startswith("fusedstep")

    @property
    def is_faster_than_ours(self) -> bool:
        """Return True if the library is faster: the whole interval of its time / fusedstep's time is below 1."""
        return self.is_peer and self.over_ours is not None and self.over_ours[2] < 1


def read(path: Path) -> dict[str, Any]:
    """Read a file of results, complete or shortened by `reduce`.

    Raises
    ------
    ValueError
        If the file does not contain such results.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
        if is_complete(document):
            return dict(document)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    raise ValueError(f"{path} must be the results of `python -m bench`; got a file with other contents")


def is_complete(document: Mapping[str, Any]) -> bool:
    """Return True if a document has all required fields. For some incomplete documents, an exception is raised."""
    found = [r for line in records(document) for r in (line.over_yardstick, line.over_ours) if r is not None]
    ratios_are = all(len(r) == 3 and all(0 < x < math.inf for x in r) for r in found)
    return ratios_are and "targets" in document and all(name in document["machine"] for name in MACHINE_FIELDS)


def records(document: Mapping[str, Any]) -> Iterator[Record]:
    for case in document["cases"]:
        for line in case["lines"]:
            figures: dict[str, Any] = {k: line.get(k) for k in ("name", "mine", "status", "seconds", "gb_s", "ready_s")}
            ratios: dict[str, Any] = {
                k: tuple(r) if (r := line.get(k)) else None for k in ("over_yardstick", "over_ours")
            }
            yield Record(case["suite"], case["name"], case["what"], **figures, **ratios)


def reduce(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results without the samples. Floats are rounded to four significant digits."""
    cases = [
        {k: short(case[k]) for k in CASE_FIELDS if case.get(k) is not None}
        | {"lines": [{k: short(line[k]) for k in FIELDS if line.get(k) is not None} for line in case["lines"]]}
        for case in document["cases"]
    ]
    targets = [entry | {"value": short(entry["value"])} for entry in document["targets"]]
    rest = {k: document.get(k, []) for k in ("machine", "out_of_time")}
    return {**rest, "cases": cases, "targets": targets}


def short(x: Any) -> Any:
    if isinstance(x, float):
        return float(f"{x:.4g}")
    if isinstance(x, dict):
        return {k: short(v) for k, v in x.items()}
    return [short(item) for item in x] if isinstance(x, (list, tuple)) else x


def dump(document: Mapping[str, Any]) -> str:
    """Return JSON text in which each implementation has its own line, so that diffs are short."""
    parts = []
    for case in document["cases"]:
        head = json.dumps({k: v for k, v in case.items() if k != "lines"})[:-1]
        lines = ",\n   ".join(json.dumps(line) for line in case["lines"])
        parts.append(f'{head}, "lines": [\n   {lines}]}}')
    rest = json.dumps({k: v for k, v in document.items() if k not in ("cases", "targets")}, indent=1)[:-2]
    targets = ",\n  ".join(json.dumps(entry) for entry in document["targets"])
    return f'{rest},\n "cases": [\n  ' + ",\n  ".join(parts) + f'],\n "targets": [\n  {targets}]\n}}\n'
