"""Compare the analytic gradient with central differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .._base.checks import positive, whole_number
from .._base.random import key_of
from ..ops.draws import permutation
from ..ops.philox import Key
from ._functions import Function, Vector, both, place, value_of

STEP = 1e-5  # with this step h, the truncation error (h^2 / 6) and the rounding error (2^-53 / h) are about 1e-11
SMALLEST = 1e-3  # the factor of `floor` in the formula of `check_gradient`


@dataclass(frozen=True)
class GradientCheck:
    """The result of `check_gradient`. ``bool(result)`` is True if every relative error is below the tolerance.

    Attributes
    ----------
    errors : dict of str to float
        For each parameter, the relative error of its gradient.
    tol : float
        The tolerance of the relative errors.
    worst : str
        A text about the parameter with the largest relative error. The text has the name of this parameter, and the
        index of one of its elements: the element at which the gradient and the central difference differ most. The text
        also has the gradient and the central difference at this element.
    """

    errors: dict[str, float]
    tol: float
    worst: str

    @property
    def error(self) -> float:
        """The largest relative error."""
        return float(np.max(list(self.errors.values())))  # nan if any error is nan

    def __bool__(self) -> bool:
        return self.error < self.tol  # false for nan

    def __str__(self) -> str:
        verdict = f"the gradients {'agree with' if self else 'differ from'} the central differences"
        rows = [f"  {name}: {error:.1e}" for name, error in self.errors.items()]
        return "\n".join([f"{verdict}; relative errors (tolerance {self.tol:g}):", *rows, f"  worst: {self.worst}"])


def check_gradient(
    f: Function,
    theta: npt.ArrayLike | None = None,
    *,
    tol: float = 1e-7,
    step: float = STEP,
    coordinates: int | None = None,
    key: Key | None = None,
) -> GradientCheck:
    r"""Compare the gradient of f with central differences of the values of f.

    An error is computed for each parameter. If f is an `Objective`, the parameters are those of its network. If not,
    all of theta is one parameter. In the formulas, g is the gradient of f, e_i is the unit vector of element i, max_i
    is the maximum over the checked elements of one parameter, and max_j is the maximum over all elements of theta.

    ::

        n_i = (f(theta + h_i e_i) - f(theta - h_i e_i)) / (2 h_i),    h_i = step * max(1, |theta_i|)
        floor = 1e-3 max(max_j |g_j|, |f(theta)|)
        error of a parameter = max_i |g_i - n_i| / max(max_i |g_i|, max_i |n_i|, floor)

    Parameters
    ----------
    f : function of a vector (d,), or Objective
        Returns (value, gradient), in float64.
    theta : array_like, shape (d,), optional
        The point at which f is analysed. If f is an `Objective`, the default is ``f.theta``.
    tol : float
        The check succeeds if the error of every parameter is below this number.
    step : float
        Relative step of the differences; see the formula of h_i. It must be above 0.
    coordinates : int, optional
        Number of elements to check in each parameter. By default all elements are checked. Each element needs two
        evaluations of f.
    key : Key, optional
        The key for the random choice of elements, if `coordinates` is given.

    Returns
    -------
    GradientCheck
        ``bool(result)`` is True if the check succeeds. ``print(result)`` shows the error of every parameter.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    A ReLU has a kink at zero. If f has a kink between theta - h_i e_i and theta + h_i e_i, the central difference is
    wrong although the gradient is right. In this case, check the gradient at another theta.

    Unlike this function, torch's ``gradcheck`` compares each element of the gradient separately, with an absolute and
    a relative tolerance.

    Examples
    --------
    >>> import numpy as np
    >>> print(check_gradient(lambda t: (float(np.sum(t**3)), 3 * t**2), [1.0, 2.0]).worst)  # doctest: +ELLIPSIS
    theta[...
    >>> bool(check_gradient(lambda t: (float(np.sum(t**3)), 2 * t**2), [1.0, 2.0]))
    False
    """
    call = "check_gradient"
    at, tol, step = place(call, f, theta), positive(f"{call}: tol", tol), positive(f"{call}: step", step)
    count = None if coordinates is None else max(1, whole_number(f"{call}: coordinates", coordinates, 2**63))
    source = Key(0) if key is None else key_of(call, key)
    value, analytic = both(call, f, at.copy())
    analytic = analytic.copy()
    floor = SMALLEST * max(float(np.abs(analytic).max()), abs(value), np.finfo(np.float64).tiny)
    of, errors, worst = value_of(f), {}, (-1.0, "")
    for number, (name, piece) in enumerate(_pieces(getattr(f, "shapes", {"theta": at.shape}))):
        chosen = np.arange(piece.start, piece.stop)
        if count is not None:
            chosen = piece.start + permutation(len(chosen), source.fold(number))[:count]
        numeric = central_differences(lambda: of(at), at, chosen.tolist(), step)
        error, where = _relative(analytic[chosen], numeric, floor)
        errors[name] = error
        if not error <= worst[0]:
            i = int(chosen[where])
            words = f"{name}[{i - piece.start}]: gradient {analytic[i]:.9g}, central difference {numeric[where]:.9g}"
            worst = (math.inf if math.isnan(error) else error, words)
    return GradientCheck(errors, tol, worst[1])


def central_differences(
    f: Callable[[], float], array: npt.NDArray[Any], where: Iterable[int] | None = None, step: float = STEP
) -> Vector:
    """Return central differences of f with respect to elements of `array`.

    f has no arguments and must read `array`. `where` has the indices of the elements in the flattened `array` (C
    order). Each of these elements is changed by +h and -h, where h = step * max(1, |element|), and then restored. If
    `where` is None, the differences of all elements are returned, in the shape of `array`.
    """
    indices = range(array.size) if where is None else where
    slopes = np.array([_difference(f, array, np.unravel_index(i, array.shape), step) for i in indices], np.float64)
    return slopes.reshape(array.shape) if where is None else slopes


def _difference(f: Callable[[], float], array: npt.NDArray[Any], i: tuple[Any, ...], step: float) -> float:
    keep = array[i]
    h = step * max(1.0, abs(keep))
    high, low = keep + h, keep - h
    try:
        array[i] = high
        above = f()
        array[i] = low
        return (above - f()) / (high - low)
    finally:
        array[i] = keep


def _pieces(shapes: Mapping[str, tuple[int, ...]]) -> Iterable[tuple[str, slice]]:
    start = 0
    for name, shape in shapes.items():
        yield name, slice(start, start + math.prod(shape))
        start += math.prod(shape)


def _relative(analytic: Vector, numeric: Vector, floor: float) -> tuple[float, int]:
    """Return the relative error of a gradient, and the index of the element with the largest error.

    `analytic` holds the checked elements of the gradient, and `numeric` the central differences for these elements. The
    divisor of the relative error is at least `floor`: see the formulas of `check_gradient`.
    """
    differences = np.abs(analytic - numeric)
    scale = max(float(np.abs(analytic).max()), float(np.abs(numeric).max()), floor)
    where = int(np.argmax(differences))  # the index of a nan if any difference is nan
    return float(differences[where]) / scale, where
