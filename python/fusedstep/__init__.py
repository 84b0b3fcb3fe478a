"""Fused optimizer steps, dropout and batch normalisation for training on CPUs, in one pass over NumPy arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _core as _core  # before NumPy: in a subinterpreter, NumPy raises a misleading error
from . import optim as optim
from ._base.names import shown as _shown
from ._base.runtime import configure as _configure
from ._base.runtime import isa as isa
from ._base.runtime import num_threads as num_threads
from ._base.runtime import set_isa as set_isa
from ._base.runtime import set_num_threads as set_num_threads
from .optim import *  # noqa: F403

if TYPE_CHECKING:
    from . import augment as augment
    from . import ensemble as ensemble
    from . import init as init
    from . import inspect as inspect
    from . import nn as nn
    from . import ops as ops
    from . import schedules as schedules
    from . import search as search
    from . import sklearn as sklearn
    from . import stopping as stopping
    from . import tables as tables
    from . import torch as torch
    from .ops import BatchNormGrads as BatchNormGrads
    from .ops import BatchStats as BatchStats
    from .ops import Key as Key
    from .ops import Moments as Moments
    from .ops import Philox as Philox
    from .ops import batch_norm as batch_norm
    from .ops import batch_norm_backward as batch_norm_backward
    from .ops import dropout as dropout
    from .ops import dropout_backward as dropout_backward
    from .ops import dropout_mask as dropout_mask
    from .ops import dropout_moments as dropout_moments
    from .ops import gaussian_noise as gaussian_noise

__version__ = "0.2.0"

_configure()

# These modules are imported when they are first used, so that the import of the package is fast. `sklearn` needs
# scikit-learn, and `torch` needs torch.
_MODULES = ("augment", "ensemble", "init", "inspect", "nn", "ops", "schedules", "search", "stopping", "tables")
_OF_PACKAGES = ("sklearn", "torch")
_CLASSES = ("BatchNormGrads", "BatchStats", "Key", "Moments", "Philox")
_FUNCTIONS = ("batch_norm", "batch_norm_backward", "dropout", "dropout_backward", "dropout_mask", "dropout_moments",
              "gaussian_noise")  # fmt: skip
_SETTINGS = ("isa", "num_threads", "set_isa", "set_num_threads")

if not TYPE_CHECKING:
    __all__ = sorted([*_MODULES, *_CLASSES, *_FUNCTIONS, *_SETTINGS, "optim", *optim.__all__])
    _homes = dict.fromkeys([*_CLASSES, *_FUNCTIONS], ".ops") | {name: f".{name}" for name in _MODULES + _OF_PACKAGES}
    _, __getattr__, __dir__ = _shown(globals(), [*__all__, *_OF_PACKAGES, "__version__"], _homes)
