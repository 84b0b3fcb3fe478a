"""Write scope.md from scope.txt: every technique, its public names, and the files that use these names."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

DOCS = Path(__file__).parent
HEAD = """# Scope

This page lists every technique of the package. The column "name" contains the public names to use. `fs` is
`fusedstep`. If a name has arguments in brackets, as in `fs.SGD(momentum)`, the technique uses these arguments. The
column "shown by" contains examples and tests that use these names.

`python docs/make_scope.py` writes this page from [scope.txt](scope.txt). The tests check that every name, every
argument and every file exists. The tests also check that the files of a row use the names of the row.
"""
NAME = re.compile(r"([\w.]+)(?:\(([\w, ]+)\))?")


class Row(NamedTuple):
    """A technique, its public names, and the files that use these names. Paths are relative to the repository."""

    technique: str
    names: list[str]
    files: list[Path]


def sections() -> dict[str, list[Row]]:
    """Read scope.txt. Return the rows of each section."""
    found: dict[str, list[Row]] = {}
    for line in (DOCS / "scope.txt").read_text("utf-8").splitlines():
        if line.startswith("## "):
            rows = found[line.removeprefix("## ")] = []
        elif line and not line.startswith("#"):
            technique, names, files = (part.strip() for part in line.split("|"))
            paths = [Path(name if name.startswith("tests/") else f"docs/{name}") for name in files.split()]
            rows.append(Row(technique, re.split(r", (?![^(]*\))", names), paths))
    return found


def resolve(name: str) -> Any:
    """Return the object with this public name. Raise ValueError if an argument in the brackets does not exist."""
    matched = NAME.fullmatch(name)
    if matched is None:
        raise ValueError(f"scope.txt: a name must be like fs.SGD(momentum); got {name!r}")
    dotted, arguments = matched.groups()
    value = _find(re.sub(r"^fs\.", "fusedstep.", dotted))
    missing = set((arguments or "").split(", ")) - {"", *_parameters(value)}
    if missing:
        raise ValueError(f"scope.txt: {dotted} has no argument {', '.join(sorted(missing))}")
    return value


def _find(dotted: str) -> Any:
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            value = getattr(value, part)
        return value
    raise ModuleNotFoundError(f"scope.txt: a name must begin with a module that can be imported; got {dotted!r}")


def _parameters(value: Any) -> set[str]:
    """Return the names of the arguments of a function, or of a class and its base classes."""
    if not callable(value):
        return set()
    made = (
        [base.__init__ for base in value.__mro__[:-1] if "__init__" in vars(base)]
        if inspect.isclass(value)
        else [value]
    )
    return {name for function in made for name in inspect.signature(function).parameters}


def page() -> str:
    """Return the text of scope.md."""
    parts = [HEAD]
    for title, rows in sections().items():
        parts += [f"## {title}\n", "| technique | name | shown by |", "|---|---|---|"]
        parts += ["| " + " | ".join(_cells(row)) + " |" for row in rows] + [""]
    return "\n".join(parts)


def _cells(row: Row) -> list[str]:
    links = [f"[{path.name}]({Path(os.path.relpath(path, 'docs')).as_posix()})" for path in row.files]
    return [row.technique, ", ".join(f"`{name}`" for name in row.names), ", ".join(links)]


if __name__ == "__main__":
    (DOCS / "scope.md").write_text(page(), "utf-8")
