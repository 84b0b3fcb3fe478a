"""Imports of packages for the integration tests."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest


def package(name: str) -> Any:
    """Import a package. If it is missing, skip the test.

    If FUSEDSTEP_REQUIRE_INTEGRATIONS is set, the test fails instead.
    """
    if os.environ.get("FUSEDSTEP_REQUIRE_INTEGRATIONS"):
        return importlib.import_module(name)
    return pytest.importorskip(name)
