"""Every name and every file in docs/scope.md exists, and the files use the names."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import fusedstep as fs

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
import make_scope  # noqa: E402

sys.path.pop(0)

ROWS = [row for rows in make_scope.sections().values() for row in rows]


def test_scope_page_equals_the_output_of_make_scope() -> None:
    """The tables of the page have more than 60 rows, and each technique has only one row."""
    assert ROOT.joinpath("docs", "scope.md").read_text("utf-8") == make_scope.page()
    assert len(ROWS) > 60 and len({row.technique for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.technique)
def test_files_of_a_table_row_exist_and_use_the_names_of_the_row(row: make_scope.Row) -> None:
    """For a name with arguments, such as fs.SGD(momentum), the test looks for the arguments, not for the name."""
    assert row.files and all((ROOT / path).is_file() for path in row.files), row.files
    texts = [(ROOT / path).read_text("utf-8") for path in row.files]
    for name in row.names:
        dotted, arguments = make_scope.NAME.fullmatch(name).groups()
        words = re.findall(r"\w+", arguments) if arguments else [dotted.rpartition(".")[2]]
        if make_scope.resolve(name) in fs.optim.registry.values() and any("every_variant" in text for text in texts):
            continue  # tests marked with `every_variant` use all optimizers and their options, but do not name them
        for word in words:
            assert any(re.search(rf"\b{word}\b", text) for text in texts), (name, word, row.files)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("fs.augment.mixdown", AttributeError, "mixdown"),
        ("fs.SGD(velocity)", ValueError, "fs.SGD has no argument velocity"),
        ("nothing.at.all", ModuleNotFoundError, r"can be imported; got 'nothing\.at\.all'"),
        ("fs.SGD(", ValueError, "a name must be like"),
    ],
)
def test_resolve_raises_an_error_for_a_wrong_name(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_scope.resolve(name)
