"""Learning-rate schedules. A schedule is a function of the number t of the step, which starts at 1.

Each function of this module checks its arguments and returns a schedule: an object that you can call with t, print,
compare and pickle. Pass a schedule as ``lr`` to any optimizer. You can also pass any other function of t.

::

    constant          eta(t) = lr
    step              eta(t) = lr * gamma ** floor((t - 1) / step_size)
    exponential       eta(t) = lr * gamma ** (t - 1)
    inverse_time      eta(t) = lr / (1 + decay * (t - 1))
    bengio            eta(t) = lr * tau / max(t, tau)
    cosine            eta(t) = min_lr + (lr - min_lr) / 2 * (1 + cos(pi * min(t - 1, T) / T))
    cosine_restarts   cycles that can grow; in each cycle, the rate falls from lr towards min_lr as a cosine
    warmup            a linear increase before another schedule
    ReduceOnPlateau   lowers the rate if a metric, such as the validation loss, no longer improves
    named             one of these schedules by its name, for a given number of steps

eta(t) is the learning rate of step t, and T is the argument total_steps.
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
