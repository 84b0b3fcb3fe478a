"""Every test and every script that docs/reliability.md names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE.parent.joinpath("docs", "reliability.md").read_text("utf-8")


def test_every_test_named_in_reliability_md_exists() -> None:
    named = re.findall(r"`(test_\w+)::(test_\w+)`", TABLE)
    assert len(named) > 40
    for file, test in named:
        tree = ast.parse((HERE / f"{file}.py").read_text("utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{test}"


def test_ci_runs_every_script_that_reliability_md_names() -> None:
    """The names of the scripts are compared with noxfile.py, which contains the commands of CI.

    The source distribution does not contain noxfile.py. Without this file, nothing is compared.
    """
    scripts = set(re.findall(r"`(\.ci/\w+\.sh)`", TABLE))
    sessions = HERE.parent / "noxfile.py"
    assert scripts
    if sessions.exists():
        run = re.findall(r"\bcheck_\w+", sessions.read_text("utf-8"))
        assert scripts <= {f".ci/{name}.sh" for name in run}


def test_table_rows_of_reliability_md_without_a_test_or_script_are_marked_as_not_guarded() -> None:
    """In each of these rows, the second of the four cells begins with "not guarded"."""
    lines = [line for line in TABLE.splitlines() if line.startswith("| ") and not line.startswith("| fault")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert len(rows) > 40 and all(len(row) == 4 for row in rows)
    assert {row[1][:11] for row in rows if not re.search(r"::|\.sh`", row[2])} == {"not guarded"}
