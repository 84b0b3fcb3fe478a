"""The examples in the docstrings and in the README are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs

OPTIONAL = ("torch", "sklearn", "cli")
MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(fs.__path__, "fusedstep.", onerror=lambda _: None)
    if m.name.split(".")[1] not in OPTIONAL and not m.name.endswith("._core")
)


@pytest.mark.parametrize("name", ["fusedstep", *MODULES])
def test_examples(name: str) -> None:
    with np.printoptions():
        result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_every_optimizer_has_an_example_an_equation_and_a_source() -> None:
    for cls in fs.optim.registry.values():
        text = cls.__doc__ or ""
        for part in ("::\n", "Parameters\n", "Raises\n", "Notes\n", "Examples\n", ">>> "):
            assert part in text, (cls.__name__, part)
        assert any(f"({year})" in text for year in range(1950, 2030)), cls.__name__


def test_the_examples_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    text = Path(__file__).parents[1].joinpath("README.md").read_text("utf-8")
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(code, {})
    assert capsys.readouterr().out == "step 300, error 0.0000\n"
