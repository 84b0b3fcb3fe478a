"""The activations. `catalogue` lists their classes, and `registry` maps names to classes."""

from typing import TYPE_CHECKING

from ..._base.names import shown as _shown
from . import catalogue
from ._activation import Activation as Activation
from .catalogue import *  # noqa: F403

#: Name in the option ``--activation`` -> class, for every activation.
registry: dict[str, type[Activation]] = {
    kind.name: kind for kind in (getattr(catalogue, name) for name in catalogue.__all__)
}

if not TYPE_CHECKING:
    __all__, __getattr__, __dir__ = _shown(globals())
