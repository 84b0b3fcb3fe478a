"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

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
