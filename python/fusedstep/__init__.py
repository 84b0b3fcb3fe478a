"""Fused optimizer steps, dropout and batch normalisation, in place on NumPy buffers at the speed of memory."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import _core as _core  # before NumPy, whose refusal in a subinterpreter speaks of a bad install
from . import optim
from ._base.runtime import configure as _configure
from ._base.runtime import isa, num_threads, set_isa, set_num_threads
from .optim import *  # noqa: F403

if TYPE_CHECKING:
    from . import augment, ensemble, init, inspect, nn, ops, schedules, search, stopping
    from .ops import (
        BatchNormGrads,
        BatchStats,
        Key,
        Moments,
        Philox,
        batch_norm,
        batch_norm_backward,
        dropout,
        dropout_backward,
        dropout_mask,
        dropout_moments,
        gaussian_noise,
    )

__version__ = "0.1.0"
__all__ = [
    "BatchNormGrads",
    "BatchStats",
    "Key",
    "Moments",
    "Philox",
    "augment",
    "batch_norm",
    "batch_norm_backward",
    "dropout",
    "dropout_backward",
    "dropout_mask",
    "dropout_moments",
    "ensemble",
    "gaussian_noise",
    "init",
    "inspect",
    "isa",
    "nn",
    "num_threads",
    "ops",
    "optim",
    "schedules",
    "search",
    "set_isa",
    "set_num_threads",
    "stopping",
    *optim.__all__,
]

_configure()

_TOOLKIT = ("augment", "ensemble", "init", "inspect", "nn", "ops", "schedules", "search", "stopping")


def __getattr__(name: str) -> Any:
    # Toolkit modules load at first use: importing the package stays cheap. What they export is kept here from then on.
    if name in _TOOLKIT:
        return importlib.import_module(f".{name}", __name__)
    if name in __all__:
        value = globals()[name] = getattr(importlib.import_module(".ops", __name__), name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
