"""The optimizers: one file each, listed in `registry`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from . import _catalogue
from ._catalogue import *  # noqa: F403
from ._optimizer import Optimizer as Optimizer
from ._optimizer import StepInfo as StepInfo
from ._rows import Rows as Rows

#: Name -> class of every optimizer.
registry: dict[str, type[Optimizer]] = {name: getattr(_catalogue, name) for name in _catalogue.__all__}

if not TYPE_CHECKING:
    __all__, __getattr__, __dir__ = _shown(globals())
