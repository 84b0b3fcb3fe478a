"""Drop-in optimizers and layers for PyTorch on CPU: fusedstep's kernels on torch's own tensors, in place."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..optim import registry

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError("fusedstep.torch needs the package torch: pip install 'fusedstep[torch]'") from None

if TYPE_CHECKING:
    # Static names for type checkers: one line per public name that is not an optimizer.
    from .dropout import Dropout as Dropout

# Public name -> module of this folder; a module is imported when one of its names is first used.
# Layers and `accelerate` add their lines here (and above, for type checkers).
_HOME: dict[str, str] = {
    **dict.fromkeys(registry, "optimizers"),
    "Dropout": "dropout",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return __all__
