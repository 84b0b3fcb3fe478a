"""Models whose predictions are averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .._base.arrays import real_numbers
from .._base.checks import non_negative
from ..ops.moments import Moments, deviations

Array = npt.NDArray[Any]


def average(outputs: Iterable[npt.ArrayLike], weights: Sequence[float] | None = None) -> npt.NDArray[np.float64]:
    r"""Return the elementwise average of predictions, in float64.

    ::

        sum_j w_j y_j / sum_j w_j    for predictions y_j with weights w_j

    Parameters
    ----------
    outputs : iterable of arrays of one shape
        One prediction per model: probabilities or values, but not labels. If ``outputs`` is a
        generator, the predictions are added one by one and are not all in memory at once.
    weights : sequence of float, optional
        One weight per prediction, at least 0. At least one weight must be above 0. By default all weights are equal.

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError, ValueError
        If there is no prediction, if shapes differ, if the number of weights differs from the number of predictions, or
        if a weight is negative or all weights are 0.

    Examples
    --------
    >>> average([[0.5, 0.5], [1.0, 0.0]])
    array([0.75, 0.25])
    >>> average([[0.5, 0.5], [1.0, 0.0]], weights=[3, 1])
    array([0.625, 0.375])
    """
    given = iter(weights) if weights is not None else None
    total, mass, count = np.zeros(0), 0.0, 0
    for y in outputs:
        weight = 1.0 if given is None else non_negative(f"average: weights[{count}]", _next(given, count))
        row = real_numbers(f"average: outputs[{count}] must be", y).astype(np.float64)
        if count and row.shape != total.shape:
            raise ValueError(f"average: outputs[{count}] must have the shape {total.shape}; got {row.shape}")
        total = weight * row + (total if count else 0.0)
        mass, count = mass + weight, count + 1
    if given is not None and next(given, None) is not None:
        raise ValueError(
            "average: weights must have as many entries as there are outputs; got more weights than outputs; the "
            f"number of outputs is {count}"
        )
    if not mass > 0:
        raise ValueError(
            f"average: at least one of the outputs must have a weight above 0; got {count} outputs with the total "
            f"weight {mass:g}"
        )
    return total / mass


def _next(weights: Iterator[float], count: int) -> float:
    try:
        return next(weights)
    except StopIteration:
        raise ValueError(
            "average: weights must have as many entries as there are outputs; got more outputs than weights; the "
            f"number of weights is {count}"
        ) from None


class Ensemble(Sequence[Any]):
    """Models whose predictions are averaged.

    Parameters
    ----------
    members : iterable
        The models, at least one. Each is a function of x, or an object with a method ``predict(x)``. For example, a
        `fusedstep.nn.Sequential` and a scikit-learn estimator have this method.

    Raises
    ------
    TypeError, ValueError
        If there is no member, or if a member is not a function and has no ``predict``.

    Notes
    -----
    Sources: Hansen and Salamon (1990); Lakshminarayanan, Pritzel, Blundell (2017), who train each member with a
    different seed. The squared error of the average prediction is the mean of the members' squared errors, minus the
    variance of the members' predictions (Krogh and Vedelsby 1995).

    Examples
    --------
    >>> import numpy as np
    >>> both = Ensemble([lambda x: x, lambda x: 3 * x])
    >>> both.predict(np.array([1.0, 2.0]))
    array([2., 4.])
    >>> both.moments(np.array([1.0, 2.0])).variance
    array([1., 4.])
    """

    def __init__(self, members: Iterable[Any]) -> None:
        self._members = list(members)
        if not self._members:
            raise ValueError(f"{type(self).__name__}: members must hold at least one model; got none")
        for i, member in enumerate(self._members):
            predictor(f"{type(self).__name__}: members[{i}]", member)

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: Any) -> Any:
        return self._members[index]

    def outputs(self, x: Any, transform: Callable[[Array], Array] | None = None) -> Iterator[Array]:
        """Yield each member's prediction for x. If `transform` is given, yield ``transform(prediction)`` instead."""
        for i, member in enumerate(self):
            y = predictor(f"{type(self).__name__}: members[{i}]", member)(x)
            yield np.asarray(transform(y) if transform else y)

    def predict(self, x: Any, transform: Callable[[Array], Array] | None = None) -> npt.NDArray[np.float64]:
        """Return the mean prediction of the members for x. `transform`, if given, first changes each prediction."""
        return average(self.outputs(x, transform))

    def moments(self, x: Any, transform: Callable[[Array], Array] | None = None) -> Moments:
        """Return the mean and the variance of the members' predictions for x.

        `transform`, if given, first changes each prediction. The denominator of the variance is ``len(self)``.
        """
        mean, squares = deviations(f"{type(self).__name__}: members", self.outputs(x, transform))
        return Moments(mean, squares / len(self), len(self))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)}>"


def predictor(what: str, member: Any) -> Callable[[Any], Any]:
    """Return the function with which a member predicts. `what` names the member in the error message."""
    found = getattr(member, "predict", member)
    if not callable(found):
        raise TypeError(f"{what} must have predict(x) or be a function of x; got {type(member).__name__}")
    return found
