"""Packages of the integration tests. If FUSEDSTEP_REQUIRE_INTEGRATIONS is set, a missing package is a failure."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest


def package(name: str) -> Any:
    """Import a package; without it the test is skipped, or fails where all are required."""
    if os.environ.get("FUSEDSTEP_REQUIRE_INTEGRATIONS"):
        return importlib.import_module(name)
    return pytest.importorskip(name)
