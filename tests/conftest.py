"""Every test starts from, and leaves, the process-wide choices as they are after the import."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest

from fusedstep import _core


@pytest.fixture(autouse=True)
def usual_machine() -> Iterator[None]:
    """Undo whatever a test did to the instruction set, the backend and the threads."""
    isa, backend = _core.isa(), _core.backend()
    yield
    _core.set_isa(isa)
    _core.set_backend(backend)
    _core.force_threads(0)
    _core.set_num_threads(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20260727)


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """PyTorch; a test without it is skipped, or fails where FUSEDSTEP_REQUIRE_PEERS is set."""
    if os.environ.get("FUSEDSTEP_REQUIRE_PEERS"):
        import torch
    else:
        torch = pytest.importorskip("torch")
    return torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a peer by the fixture that brings it."""
    for item in items:
        if "torch" in getattr(item, "fixturenames", ()):
            item.add_marker("torch")
