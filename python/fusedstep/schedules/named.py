"""Schedules by name, for a given number of steps."""

from __future__ import annotations

from collections.abc import Callable

from ._check import integer
from .annealing import cosine, cosine_restarts
from .decay import bengio, constant, exponential, inverse_time, step
from .plateau import ReduceOnPlateau

Schedule = Callable[[int], float]

_MADE: dict[str, Callable[[float, int], Schedule]] = {
    "constant": lambda lr, steps: constant(lr),
    "step": lambda lr, steps: step(lr, -(-steps // 3)),
    "exponential": lambda lr, steps: exponential(lr, 0.01 ** (1 / steps)),
    "inverse_time": lambda lr, steps: inverse_time(lr, 9 / steps),
    "bengio": lambda lr, steps: bengio(lr, max(1, steps // 4)),
    "cosine": cosine,
    "cosine_restarts": lambda lr, steps: cosine_restarts(lr, -(-steps // 7), 2),
    "plateau": lambda lr, steps: ReduceOnPlateau(lr, factor=0.3, patience=5),
}
NAMES = tuple(_MADE)


def named(name: str, lr: float, steps: int) -> Schedule:
    """Return the schedule with this name for a training of `steps` steps.

    ::

        constant           the rate is always lr
        step               the rate is divided by 10 after one third and after two thirds of the steps
        exponential        the rate falls to lr / 100, by the same factor in every step
        inverse_time       in step t the rate is lr / (1 + 9 (t - 1) / steps). It falls to lr / 10
        bengio             the rate is lr for a quarter of the steps. After them, the rate of step t is proportional
                           to 1 / t. So the rate falls to lr / 4
        cosine             the rate falls to 0 along half a period of a cosine
        cosine_restarts    three cycles (1/7, 2/7 and 4/7 of the steps); in each, the rate falls from lr towards 0
        plateau            the rate is multiplied by 0.3 after 6 validation metrics in a row without improvement

    Parameters
    ----------
    name : str
        One of the names above, which are in the tuple `NAMES`.
    lr : float
        The rate of step 1.
    steps : int
        Number of steps of the training, >= 1.

    Raises
    ------
    ValueError
        If an argument is not as described.

    Examples
    --------
    >>> eta = named("exponential", 1.0, 100)
    >>> round(eta(101), 12)  # the rate after the 100 steps
    0.01
    """
    if name not in _MADE:
        raise ValueError(f"named: name must be one of {', '.join(NAMES)}; got {name!r}")
    integer("named", "steps", steps)
    return _MADE[name](lr, steps)
