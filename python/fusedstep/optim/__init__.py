"""The optimizers. Each one is a class in its own module. `registry` contains all of them by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from . import _catalogue
from ._catalogue import *  # noqa: F403
from ._optimizer import Optimizer as Optimizer
from ._optimizer import StepInfo as StepInfo
from ._rows import Rows as Rows

#: The class of every optimizer by its name.
registry: dict[str, type[Optimizer]] = {name: getattr(_catalogue, name) for name in _catalogue.__all__}

if not TYPE_CHECKING:
    __all__, __getattr__, __dir__ = _shown(globals())
