"""Fused optimizer steps, dropout and batch normalisation, in place on NumPy buffers at the speed of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _core as _core  # before NumPy, whose refusal in a subinterpreter speaks of a bad install
from . import optim
from ._base.names import shown as _shown
from ._base.runtime import configure as _configure
from ._base.runtime import isa, num_threads, set_isa, set_num_threads
from .optim import *  # noqa: F403

if TYPE_CHECKING:
    from . import augment, ensemble, init, inspect, nn, ops, schedules, search, stopping
    from . import sklearn as sklearn
    from . import torch as torch
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

# Toolkit modules load at first use: importing the package stays cheap. Two of them need packages that are named alike.
_LOADED_LATER = ("augment", "ensemble", "init", "inspect", "nn", "ops", "schedules", "search", "stopping")
_OF_PACKAGES = ("sklearn", "torch")

if not TYPE_CHECKING:
    __getattr__, __dir__ = _shown(
        __name__,
        [*__all__, *_OF_PACKAGES, "__version__"],
        {
            **{name: ".ops" for name in __all__ if name not in globals()},
            **{name: f".{name}" for name in (*_LOADED_LATER, *_OF_PACKAGES)},
        },
    )
