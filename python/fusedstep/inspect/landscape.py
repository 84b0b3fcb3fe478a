"""The loss along one direction and along two directions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._base.checks import non_negative, number, whole_number
from .._base.random import key_of
from ..ops.noise import gaussian_noise
from ..ops.philox import Key
from ._functions import Vector, new_axes, place, value_of, vector
from .objective import Objective


class Line(NamedTuple):
    """The values of f along a line, returned by ``line(f, direction, theta)``.

    Attributes
    ----------
    at : ndarray, shape (points,)
        The positions along the direction, in ascending order.
    values : ndarray, shape (points,)
        ``values[i] = f(theta + at[i] * direction)``
    """

    at: Vector
    values: Vector

    @property
    def curvature(self) -> Vector:
        """Second derivatives at all points except the first and the last, as an array of shape (points - 2,).

        With f_i = ``values[i]`` and h = ``at[1] - at[0]``, the second derivative at point i is approximated by
        ``(f_(i-1) - 2 f_i + f_(i+1)) / h^2``.
        """
        h = self.at[1] - self.at[0]
        return np.diff(self.values, 2) / h**2

    def is_convex(self, tol: float = 1e-9) -> bool:
        """Return True if all differences ``f_(i-1) - 2 f_i + f_(i+1)`` are at least ``-tol * max |f_i|``.

        f_i is ``values[i]``.
        """
        least = -non_negative("Line.is_convex: tol", tol) * float(np.abs(self.values).max())
        return bool((np.diff(self.values, 2) >= least).all())

    def plot(self, ax: Any = None, **style: Any) -> Any:
        """Draw `values` against `at`. Return the axes.

        `ax` is the matplotlib axes to draw in. If `ax` is None, a new figure is made. `style` stands for all
        other keyword arguments, which are passed to ``ax.plot``.
        """
        ax = new_axes(ax)
        ax.plot(self.at, self.values, **style)
        ax.set(xlabel="step along the direction", ylabel="loss")
        return ax


class Plane(NamedTuple):
    """The values of f over a plane, returned by ``plane(f, first, second, theta)``.

    Attributes
    ----------
    at : ndarray, shape (points,)
        The positions along the first direction. The positions along the second direction are the same numbers.
    values : ndarray, shape (points, points)
        ``values[i, j] = f(theta + at[j] * first + at[i] * second)``
    """

    at: Vector
    values: Vector

    def plot(self, ax: Any = None, levels: int = 20, log: bool = False, **style: Any) -> Any:
        """Draw contours of `values`, or of their decimal logarithms if `log` is True. Return the axes.

        `ax` is the matplotlib axes to draw in. If `ax` is None, a new figure is made. `levels` is passed to
        ``contourf``. `style` stands for all other keyword arguments, which are also passed to ``contourf``.
        """
        ax = new_axes(ax)
        shown = np.log10(self.values) if log else self.values
        filled = ax.contourf(self.at, self.at, shown, levels=levels, **style)
        ax.contour(self.at, self.at, shown, levels=levels, colors="white", linewidths=0.4, linestyles="solid")
        ax.figure.colorbar(filled, ax=ax, label="log10 of the loss" if log else "loss")
        ax.plot(0, 0, "o", color="white", markeredgecolor="black", markersize=6)
        ax.set(xlabel="step along the first direction", ylabel="step along the second direction")
        return ax


def random_direction(f: Objective, key: Key, theta: npt.ArrayLike | None = None) -> Vector:
    r"""Return a random direction v in the space of a network's weights, scaled separately for each unit.

    ::

        v_j = r_j / |r_j| * |theta_j|,    r ~ N(0, I)

    theta_j contains the weights between the inputs of a layer and its unit j. v_j and r_j contain the elements of v
    and of the random vector r that belong to these weights. For biases, and for gamma and beta of a normalisation, v
    is 0.

    Parameters
    ----------
    f : Objective
        The result of `objective`, for a network with d weights.
    key : Key
        The key of the random vector r. The same key gives the same direction.
    theta : array_like, shape (d,), optional
        The weights whose norms are used. The default is ``f.theta``.

    Returns
    -------
    ndarray of float64, shape (d,)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Source: Li et al. (2018), "Visualizing the loss landscape of neural nets", section 4. Along the unscaled direction
    r, the loss of a network with large weights looks flat, because a step along r is small compared with the weights.
    But the scale of the weights is arbitrary: in a ReLU network, the outputs stay the same if the weights and biases of
    one layer are multiplied by 10, and the weights of the next layer by 1/10.

    Examples
    --------
    >>> import numpy as np, fusedstep as fs
    >>> from fusedstep import nn
    >>> model = nn.Sequential(nn.Linear(3, 2), rng=0)
    >>> f = fs.inspect.objective(model, nn.MeanSquaredError(), np.ones((1, 3)), np.ones((1, 2)))
    >>> d = f.split(random_direction(f, fs.Key(1)))
    >>> w = f.split(f.theta)["0.weight"]
    >>> bool(np.allclose(np.linalg.norm(d["0.weight"], axis=0), np.linalg.norm(w, axis=0))), d["0.bias"]
    (True, array([0., 0.]))
    """
    call = "random_direction"
    if not isinstance(f, Objective):
        raise TypeError(f"{call}: f must be an Objective (from inspect.objective); got {type(f).__name__}")
    at = place(call, f, theta)
    direction = gaussian_noise(at.size, 1.0, key_of(call, key), dtype=np.float64)
    own = f.split(at)
    for name, part in f.split(direction).items():
        if part.ndim < 2:
            part[...] = 0.0
        else:
            part *= np.linalg.norm(own[name], axis=0) / np.linalg.norm(part, axis=0)
    return direction


def line(
    f: Any,
    direction: npt.ArrayLike,
    theta: npt.ArrayLike | None = None,
    *,
    span: tuple[float, float] = (-1.0, 1.0),
    points: int = 51,
) -> Line:
    """Evaluate f at equally spaced points on a line through theta.

    ::

        f(theta + a * direction),    a from span[0] to span[1]

    Parameters
    ----------
    f : function of a vector (d,), or Objective
        Returns the value, or (value, gradient).
    direction : array_like, shape (d,)
        For example the result of `random_direction`. With the direction ``theta_2 - theta``, a = 0 is the point theta,
        and a = 1 is the point theta_2.
    theta : array_like, shape (d,), optional
        The point of the line where a = 0. If f is an `Objective`, the default is ``f.theta``.
    span : pair of float
        The smallest and the largest value of a.
    points : int
        Number of values of a, at least 3. The distances between neighbouring values are equal.

    Returns
    -------
    Line
        A named tuple (at, values): the values of a and the values of f. It has the methods ``plot(ax=None)`` and
        ``is_convex()``, and the property ``curvature``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Source: Goodfellow, Vinyals, Saxe (2015).

    Examples
    --------
    >>> import numpy as np
    >>> line(lambda t: float(t @ t), [1.0], theta=[0.0], points=3).values
    array([1., 0., 1.])
    >>> line(lambda t: float(np.cos(t[0])), [1.0], theta=[0.0]).is_convex()
    False
    """
    call = "line"
    at, steps = place(call, f, theta), _steps(call, span, points)
    along, value = vector(call, "direction", direction, at.size), value_of(f)
    return Line(steps, np.array([value(at + a * along) for a in steps]))


def plane(
    f: Any,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    theta: npt.ArrayLike | None = None,
    *,
    span: tuple[float, float] = (-1.0, 1.0),
    points: int = 25,
) -> Plane:
    """Evaluate f at the points of a grid on a plane through theta.

    ::

        f(theta + a * first + b * second),    a and b from span[0] to span[1]

    Parameters
    ----------
    f : function of a vector (d,), or Objective
        Returns the value, or (value, gradient).
    first, second : array_like, shape (d,)
        The directions of the plane, for example two results of `random_direction` with different keys.
    theta : array_like, shape (d,), optional
        The point at which f is analysed. If f is an `Objective`, the default is ``f.theta``.
    span : pair of float
        The smallest and the largest value of a and of b.
    points : int
        Number of values of a, at least 3. The distances between neighbouring values are equal. b has the same values.

    Returns
    -------
    Plane
        A named tuple (at, values). `at` contains the values of a, which are also the values of b. ``values[i, j]`` is
        the value of f for a = at[j] and b = at[i]. The method ``plot(ax=None)`` draws `values`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Source: Li et al. (2018), "Visualizing the loss landscape of neural nets".

    Examples
    --------
    >>> plane(lambda t: float(t[0] + 10 * t[1]), [1.0, 0.0], [0.0, 1.0], theta=[0.0, 0.0], points=3).values
    array([[-11., -10.,  -9.],
           [ -1.,   0.,   1.],
           [  9.,  10.,  11.]])
    """
    call = "plane"
    at, steps, value = place(call, f, theta), _steps(call, span, points), value_of(f)
    u, v = vector(call, "first", first, at.size), vector(call, "second", second, at.size)
    return Plane(steps, np.array([[value(at + a * u + b * v) for a in steps] for b in steps]))


def _steps(call: str, span: tuple[float, float], points: int) -> Vector:
    low, high = (number(f"{call}: span[{i}]", end) for i, end in enumerate(span))
    if not low < high:
        raise ValueError(f"{call}: span must be two numbers, the first below the second; got {span!r}")
    count = whole_number(f"{call}: points", points, 2**31)
    if count < 3:
        raise ValueError(f"{call}: points must be at least 3; got {count}")
    return np.linspace(low, high, count)
