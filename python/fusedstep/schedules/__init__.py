"""Learning-rate schedules: functions of the step t, which counts from 1, so that step 1 uses the first rate.

Each factory checks its arguments and returns a small frozen object that can be called with the step,
printed, compared and pickled. Pass one as ``lr`` to any optimizer. Any other function of the step works too.

::

    constant          eta(t) = lr
    step              eta(t) = lr * gamma ** floor((t - 1) / step_size)
    exponential       eta(t) = lr * gamma ** (t - 1)
    inverse_time      eta(t) = lr / (1 + decay * (t - 1))
    bengio            eta(t) = lr * tau / max(t, tau)
    cosine            eta(t) = min_lr + (lr - min_lr) / 2 * (1 + cos(pi * min(t - 1, T) / T))
    cosine_restarts   the same over cycles of growing length, with ends_cycle(t) for snapshots
    warmup            a linear increase before any of them
    ReduceOnPlateau   lowers the rate when observe(metric) stops improving
    named             any of them by its name, for a run of a given length
"""

from typing import TYPE_CHECKING

from .._base.names import shown as _shown
from .annealing import Cosine as Cosine
from .annealing import CosineRestarts as CosineRestarts
from .annealing import Cycle as Cycle
from .annealing import Warmup as Warmup
from .annealing import cosine as cosine
from .annealing import cosine_restarts as cosine_restarts
from .annealing import warmup as warmup
from .decay import Bengio as Bengio
from .decay import Constant as Constant
from .decay import Exponential as Exponential
from .decay import InverseTime as InverseTime
from .decay import Step as Step
from .decay import bengio as bengio
from .decay import constant as constant
from .decay import exponential as exponential
from .decay import inverse_time as inverse_time
from .decay import step as step
from .named import NAMES as NAMES
from .named import named as named
from .plateau import ReduceOnPlateau as ReduceOnPlateau

if not TYPE_CHECKING:
    __all__, __getattr__, __dir__ = _shown(globals())
