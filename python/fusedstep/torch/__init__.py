"""Drop-in optimizers and layers for PyTorch on the CPU. fusedstep's kernels change torch's own tensors in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from ..optim import registry

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise ImportError("fusedstep.torch needs the package torch: pip install 'fusedstep[torch]'") from None

if TYPE_CHECKING:
    # Names for type checkers: one line per public name. The names of the optimizers are in a stub, optimizers.pyi.
    from .acceleration import Acceleration as Acceleration
    from .acceleration import accelerate as accelerate
    from .backward import BackwardSteps as BackwardSteps
    from .backward import step_in_backward as step_in_backward
    from .batch_norm import BatchNorm1d as BatchNorm1d
    from .batch_norm import BatchNorm2d as BatchNorm2d
    from .batch_norm import BatchNorm3d as BatchNorm3d
    from .checkpoint import CheckpointWriter as CheckpointWriter
    from .dropout import Dropout as Dropout
    from .offload import OffloadedOptimizer as OffloadedOptimizer
    from .optimizers import *  # noqa: F403
    from .sync_batch_norm import SyncBatchNorm as SyncBatchNorm

# Public name -> module of this folder. A module is imported when one of its public names is first used.
_HOME: dict[str, str] = {
    **dict.fromkeys(registry, "optimizers"),
    **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"), "batch_norm"),
    "Acceleration": "acceleration",
    "BackwardSteps": "backward",
    "CheckpointWriter": "checkpoint",
    "Dropout": "dropout",
    "OffloadedOptimizer": "offload",
    "SyncBatchNorm": "sync_batch_norm",
    "accelerate": "acceleration",
    "step_in_backward": "backward",
}

if not TYPE_CHECKING:
    __all__ = sorted(_HOME)
    _, __getattr__, __dir__ = _shown(globals(), __all__, {name: f".{module}" for name, module in _HOME.items()})
