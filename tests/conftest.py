"""Fixtures for all tests. Each test starts with the process-wide settings that the package has after its import."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from fusedstep import _core

pytest.register_assert_rewrite("support")

NIGHTLY = bool(os.environ.get("FUSEDSTEP_NIGHTLY"))
SLOW_DRAWS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
settings.register_profile(
    "usual", deadline=None, database=None, derandomize=True, max_examples=100, suppress_health_check=SLOW_DRAWS
)
settings.register_profile("nightly", settings.get_profile("usual"), derandomize=False, max_examples=10_000)
PROFILE = "nightly" if NIGHTLY else "usual"
settings.load_profile(PROFILE)

# An optional package, and the test files in which every test needs it. Without the package, they are not collected.
NEEDS = {
    "optuna": ["test_border_report", "test_docs", "test_scope", "test_search"],
    "sklearn": ["test_bench_sklearn", "test_nn_pretraining", "test_sklearn_*"],
}
MISSING = {package: files for package, files in NEEDS.items() if find_spec(package) is None}
collect_ignore_glob = [f"{file}.py" for files in MISSING.values() for file in files]

# If a shell starts pytest in the background, pytest and its child processes ignore Ctrl-C. The next line changes this.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup() -> None:
    """Load hypothesis's profile again: the import of `torch.testing._internal` loads a profile with 10 examples."""
    settings.load_profile(PROFILE)


def pytest_report_header() -> list[str]:
    """List the test files that are not collected."""
    return [f"not collected, because {package} is missing: {', '.join(files)}" for package, files in MISSING.items()]


@pytest.fixture(autouse=True)
def usual_machine() -> Iterator[None]:
    """Restore the instruction set, the threading backend and the number of threads after each test."""
    isa, backend = _core.isa(), _core.backend()
    yield
    _core.set_isa(isa)
    _core.set_backend(backend)
    _core.force_threads(0)
    _core.set_num_threads(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator whose random numbers are the same in every run."""
    return np.random.default_rng(20260727)


@pytest.fixture(scope="session", autouse=True)
def worlds() -> Iterator[None]:
    """After the last test, end the processes of torch.distributed that tests have started."""
    yield
    if "support.worlds" in sys.modules:
        sys.modules["support.worlds"].end_worlds()


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """Return torch. Without torch, the test fails if FUSEDSTEP_REQUIRE_PEERS is set. Otherwise, it is skipped."""
    if os.environ.get("FUSEDSTEP_REQUIRE_PEERS"):
        import torch
    else:
        torch = pytest.importorskip("torch")
    return torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests with `torch` if they use the fixture `torch`. Skip nightly tests if FUSEDSTEP_NIGHTLY is not set."""
    for item in items:
        if "torch" in getattr(item, "fixturenames", ()):
            item.add_marker("torch")
        if item.get_closest_marker("nightly") and not NIGHTLY:
            item.add_marker(pytest.mark.skip(reason="runs only with FUSEDSTEP_NIGHTLY=1"))
