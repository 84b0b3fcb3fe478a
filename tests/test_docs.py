"""The examples in the docstrings and in the README run, and print the output that the text shows."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedstep as fs

OPTIONAL = ("torch", "sklearn", "cli", "_bench")  # these modules import packages that may not be installed
MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(fs.__path__, "fusedstep.", onerror=lambda _: None)
    if m.name.split(".")[1] not in OPTIONAL and not m.name.endswith("._core")
)


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("name", ["fusedstep", *MODULES])
def test_docstring_examples_run(name: str) -> None:
    with np.printoptions():
        result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_every_optimizer_docstring_has_all_sections_an_equation_an_example_and_a_year() -> None:
    """The year is that of a publication, in parentheses."""
    for cls in fs.optim.registry.values():
        text = cls.__doc__ or ""
        for part in ("::\n", "Parameters\n", "Raises\n", "Notes\n", "Examples\n", ">>> "):
            assert part in text, (cls.__name__, part)
        assert any(f"({year})" in text for year in range(1950, 2030)), cls.__name__


TOOLS = ("augment", "ensemble", "init", "inspect", "nn", "schedules", "search", "stopping")
BASES = (fs.nn.Layer, fs.nn.Loss, fs.nn.ActivityPenalty)  # classes from which users derive their own classes


def _public() -> Iterator[tuple[str, Any]]:
    """Yield the names and values of the public functions and classes in the modules of `TOOLS`.

    Warnings, base classes and classes of results are left out.
    """
    for tool in TOOLS:
        module = importlib.import_module(f"fusedstep.{tool}")
        for name in getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]:
            value = getattr(module, name)
            made = inspect.isfunction(value) or (
                inspect.isclass(value)
                and not issubclass(value, (*BASES, tuple, Warning))
                and not dataclasses.is_dataclass(value)
                and "returned by `" not in (value.__doc__ or "")
            )
            ours = getattr(value, "__module__", "").startswith(f"fusedstep.{tool}")
            if ours and (made or (inspect.isclass(value) and issubclass(value, BASES) and value not in BASES)):
                yield f"{tool}.{name}", value


@pytest.mark.parametrize(("name", "value"), list(_public()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_public_docstring_has_parameters_raises_and_an_example(name: str, value: Any) -> None:
    text = inspect.getdoc(value) or ""
    assert value.__doc__ and ">>> " in text, name
    taken = inspect.signature(value).parameters
    if taken:
        assert "Parameters\n---" in text and "Raises\n---" in text, name
    missing = [parameter for parameter in taken if not re.search(rf"\b{parameter}\b", text)]
    assert not missing, (name, missing)


README = re.findall(
    r"```python\n(.*?)```", Path(__file__).parents[1].joinpath("README.md").read_text("utf-8"), re.DOTALL
)


def test_readme_examples_run_and_print_the_output_that_readme_shows(capsys: pytest.CaptureFixture[str]) -> None:
    for code in README:
        if "import torch" not in code:
            exec(code, {})
    assert capsys.readouterr().out == "error 0.0000\n"


def test_readme_example_for_torch_runs(torch: Any) -> None:
    (code,) = [code for code in README if "import torch" in code]
    names: dict[str, Any] = {}
    exec(code, names)
    assert all(names["optimizer"].state[p]["step"] == 1 for p in names["model"].parameters())
