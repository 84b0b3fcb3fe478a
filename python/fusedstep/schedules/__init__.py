"""Learning-rate schedules. A schedule is a function that returns the learning rate of step t, where t starts at 1.

Each function of this module checks its arguments and returns a schedule: an object that you can call with t, print,
compare and pickle. Pass a schedule as ``lr`` to any optimizer. You can also pass any other function of t.

In the following formulas, eta(t) is the learning rate of step t, and T is the argument total_steps.

::

    constant          eta(t) = lr
    step              eta(t) = lr * gamma ** floor((t - 1) / step_size)
    exponential       eta(t) = lr * gamma ** (t - 1)
    inverse_time      eta(t) = lr / (1 + decay * (t - 1))
    bengio            eta(t) = lr * tau / max(t, tau)
    cosine            eta(t) = min_lr + (lr - min_lr) / 2 * (1 + cos(pi * min(t - 1, T) / T))
    cosine_restarts   in each cycle of steps, the rate falls from lr towards min_lr as a cosine; cycles can get longer
    warmup            a linear increase of the rate before another schedule
    ReduceOnPlateau   lowers the rate if a metric, such as the validation loss, no longer improves
    named             returns one of these schedules, except warmup, by its name and for a given number of steps
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
