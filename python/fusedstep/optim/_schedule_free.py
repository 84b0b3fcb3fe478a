"""The base class of the schedule-free optimizers. It computes the averages with which a model is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from .._base.memory import copies_of
from ._optimizer import Optimizer
from ._params import Array


class ScheduleFree(Optimizer):
    """Base class of the schedule-free optimizers, which compute points z, x and y in each step.

    A step changes z by the gradient at y. x is a weighted average of the points z of all steps. The parameters are
    y = share * x + (1 - share) * z, where share is a number between 0 and 1.
    """

    #: The name of the option that contains the share of x in y. If the option is a tuple, its first value is the share.
    interpolation: ClassVar[str]

    @classmethod
    def share_of_average(cls, group: Any) -> float:
        """Return the share of x in y = share * x + (1 - share) * z."""
        value = group[cls.interpolation]
        return float(value[0] if isinstance(value, (tuple, list)) else value)

    def _averages(self) -> Callable[[], list[Array]] | None:
        return super()._averages() or self._own_averages

    def _own_averages(self) -> list[Array]:
        """Return the average x = y + (1 - 1 / share) * (z - y) for each parameter y.

        This x is the solution of y = share * x + (1 - share) * z, where z is the state ``z`` of the parameter. share is
        the option `momentum` of `SGDScheduleFree`, or beta1 of `AdamWScheduleFree`.
        Before the first step, x, y and z are equal.
        """
        averages = copies_of(self._arrays)
        for key, y, x, k, steps in zip(
            self._keys, self._arrays, averages, self._group_of, self._plan.tensor_steps, strict=True
        ):
            if steps > 0:
                wide = np.promote_types(y.dtype, np.float32)  # so a 16-bit x is rounded only once, when it is stored
                z, of_y = self._state[key]["z"].astype(wide, copy=False), y.astype(wide, copy=False)
                x[...] = of_y + wide.type(1.0 - 1.0 / self.share_of_average(self._groups[k])) * (z - of_y)
        return averages
