"""Fused optimizer steps, dropout and batch normalisation, in place on NumPy buffers at the speed of memory."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import ops, optim
from ._runtime import configure as _configure
from ._runtime import isa, num_threads, set_isa, set_num_threads
from .ops import *  # noqa: F403
from .optim import *  # noqa: F403

if TYPE_CHECKING:
    from . import init, nn, schedules

__version__ = "0.1.0"
__all__ = [
    "init",
    "isa",
    "nn",
    "num_threads",
    "ops",
    "optim",
    "schedules",
    "set_isa",
    "set_num_threads",
    *ops.__all__,
    *optim.__all__,
]

_configure()


def __getattr__(name: str) -> Any:
    # Toolkit modules load at first use: importing the package stays cheap.
    if name in ("init", "nn", "schedules"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
