"""Checks of the arguments ``f``, a function of one vector, and ``theta``, the point at which f is analysed.

The argument `call` of the checks is the name of the public function, with which the error message begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .._base.arrays import describe
from .._base.optional import need

Vector = npt.NDArray[np.float64]
Function = Callable[[Vector], tuple[float, npt.NDArray[Any]]]


def scipy(module: str) -> Any:
    """Import a module of scipy. If scipy is missing, raise an error that says how to install scipy."""
    return need(f"scipy.{module}", "scipy", extra="inspect")


def new_axes(ax: Any) -> Any:
    """Return the axes to draw in: `ax`, or the axes of a new figure if `ax` is None."""
    if ax is not None:
        return ax
    return need("matplotlib.pyplot", "matplotlib", extra="inspect").subplots(layout="constrained")[1]


def place(call: str, f: Any, theta: npt.ArrayLike | None) -> Vector:
    """Return `theta` as a new vector. If `theta` is None, return the weights of the `Objective` f."""
    if not callable(f):
        raise TypeError(f"{call}: f must be a function of a vector; got {type(f).__name__}")
    if theta is None and not hasattr(f, "theta"):
        raise ValueError(f"{call}: theta must be given if f is not an Objective; got None")
    return vector(call, "theta", f.theta if theta is None else theta)


def vector(call: str, name: str, value: npt.ArrayLike, size: int | None = None) -> Vector:
    """Return `value` as a new vector of float64. Refuse a wrong shape and numbers that are not finite.

    The errors name the function `call` and the argument `name`. If `size` is given, the vector must have this number of
    elements.
    """
    found = np.array(value, np.float64, copy=True)
    if found.ndim != 1 or not found.size or (size is not None and found.size != size):
        need = f"({size},)" if size else "(d,) with d >= 1"
        raise ValueError(f"{call}: {name} must have the shape {need}; got {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"{call}: {name} must be finite; got {found[~np.isfinite(found)][0]}")
    return found


def both(call: str, f: Function, theta: Vector) -> tuple[float, Vector]:
    """Return the value and the gradient of f at theta. Refuse a gradient of a wrong shape."""
    result = f(theta)
    if not isinstance(result, tuple) or len(result) != 2:
        what = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
        raise TypeError(f"{call}: f must return a tuple of two, (value, gradient); got {what}")
    gradient = np.asarray(result[1])
    if gradient.shape != theta.shape:
        raise ValueError(f"{call}: f must return a gradient of shape {theta.shape}; got {describe(gradient)}")
    return float(result[0]), gradient.astype(np.float64, copy=False)


def value_of(f: Any) -> Callable[[Vector], float]:
    """Return a function that returns only the value of f. If f is an `Objective`, no gradient is computed."""
    if hasattr(f, "value"):
        return f.value

    def first(theta: Vector) -> float:
        result = f(theta)
        return float(result[0] if isinstance(result, tuple) else result)

    return first
