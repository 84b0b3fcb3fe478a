"""Learning-rate schedules: functions of the step t, which counts from 1, so that step 1 uses the first rate.

Each factory checks its arguments and returns a small frozen object that can be called with the step,
printed, compared and pickled. Pass one as ``lr`` to any optimizer; any other function of the step will do.

    constant          eta(t) = lr
    step              eta(t) = lr * gamma ** floor((t - 1) / step_size)
    exponential       eta(t) = lr * gamma ** (t - 1)
    inverse_time      eta(t) = lr / (1 + decay * (t - 1))
    bengio            eta(t) = lr * tau / max(t, tau)
    cosine            eta(t) = min_lr + (lr - min_lr) / 2 * (1 + cos(pi * min(t - 1, T) / T))
    cosine_restarts   the same over cycles of growing length, with ``ends_cycle(t)`` for snapshots
    warmup            a straight climb in front of any of them
    ReduceOnPlateau   lowers the rate when ``observe(metric)`` stops improving
    named             any of them by its name, fitted to the length of a run
"""

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from .annealing import Cosine, CosineRestarts, Cycle, Warmup, cosine, cosine_restarts, warmup
from .decay import (
    Bengio,
    Constant,
    Exponential,
    InverseTime,
    Step,
    bengio,
    constant,
    exponential,
    inverse_time,
    step,
)
from .named import NAMES, named
from .plateau import ReduceOnPlateau

__all__ = [
    "NAMES",
    "Bengio",
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Cycle",
    "Exponential",
    "InverseTime",
    "ReduceOnPlateau",
    "Step",
    "Warmup",
    "bengio",
    "constant",
    "cosine",
    "cosine_restarts",
    "exponential",
    "inverse_time",
    "named",
    "step",
    "warmup",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = _shown(__name__, __all__)
