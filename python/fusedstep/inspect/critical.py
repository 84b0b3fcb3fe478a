"""The kind of a critical point, and the sharpness of a loss at a point."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._base.checks import non_negative, positive, whole_number
from .._base.random import key_of
from ..ops.draws import uniform
from ..ops.philox import Key
from ._functions import Function, Vector, both, place, scipy
from .hessian import extreme_eigenvalues


class CriticalPoint(NamedTuple):
    """The result of `critical_point`.

    Attributes
    ----------
    kind : str
        "not critical", "minimum", "flat minimum", "maximum", "flat maximum", "saddle" or "plateau".
        `critical_point` defines these kinds.
    gradient_norm : float
        The Euclidean norm of the gradient.
    smallest, largest : float
        The smallest and the largest eigenvalue of the Hessian.
    """

    kind: str
    gradient_norm: float
    smallest: float
    largest: float


def critical_point(
    f: Function,
    theta: npt.ArrayLike | None = None,
    *,
    gradient_tol: float = 1e-4,
    curvature_tol: float = 1e-4,
    key: Key | None = None,
) -> CriticalPoint:
    """Classify a point as minimum, maximum, saddle or plateau, by the gradient and the Hessian's extreme eigenvalues.

    ::

        g = gradient,   lo, hi = smallest and largest eigenvalue of the Hessian,   tol = curvature_tol
        not critical    |g| > gradient_tol; for all other kinds, |g| <= gradient_tol
        saddle          lo < -tol and hi > tol
        minimum         lo > tol
        flat minimum    -tol <= lo <= tol and hi > tol
        maximum         hi < -tol
        flat maximum    lo < -tol and -tol <= hi <= tol
        plateau         -tol <= lo and hi <= tol

    Parameters
    ----------
    f : function of a vector (d,), or Objective
        Returns (value, gradient), in float64.
    theta : array_like, shape (d,), optional
        The point at which f is analysed. If f is an `Objective`, the default is ``f.theta``.
    gradient_tol : float
        A gradient is treated as zero if its norm is at most this number. At least 0.
    curvature_tol : float
        An eigenvalue is treated as zero if its absolute value is at most this number. At least 0.
    key : Key, optional
        The key of the random start vector of `extreme_eigenvalues`, which computes the eigenvalues.

    Returns
    -------
    CriticalPoint
        (kind, gradient_norm, smallest, largest)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    ImportError
        If d > 64 and scipy is not installed. Install it with ``pip install 'fusedstep[inspect]'``.

    Notes
    -----
    Source: Dauphin et al. (2014). A "flat" minimum or maximum has directions without curvature. In these directions,
    the eigenvalues do not show whether the point is a minimum, a maximum or neither. For example, t^2 + s^3 has a "flat
    minimum" at (0, 0), although it is below 0 at points with t = 0 and s < 0. If the data do not
    determine all weights of a network, its minima are flat.

    Examples
    --------
    >>> critical_point(lambda t: (t[0] ** 2 - t[1] ** 2, t * [2.0, -2.0]), [0.0, 0.0]).kind
    'saddle'
    """
    call = "critical_point"
    at, flat = place(call, f, theta), non_negative(f"{call}: curvature_tol", curvature_tol)
    steep = non_negative(f"{call}: gradient_tol", gradient_tol)
    norm = float(np.linalg.norm(both(call, f, at)[1]))
    ends = extreme_eigenvalues(f, at, key=key)
    low, high = float(ends.smallest[0]), float(ends.largest[0])
    kind = "not critical" if norm > steep else _kind(low, high, flat)
    return CriticalPoint(kind, norm, low, high)


def _kind(low: float, high: float, flat: float) -> str:
    if low < -flat:
        return "saddle" if high > flat else "maximum" if high < -flat else "flat maximum"
    if high > flat:
        return "minimum" if low > flat else "flat minimum"
    return "plateau"


def sharpness(
    f: Function,
    theta: npt.ArrayLike | None = None,
    *,
    epsilon: float = 1e-3,
    iterations: int = 10,
    key: Key | None = None,
) -> float:
    r"""Return how much the loss can grow within a small box around theta, in percent of 1 + f(theta).

    ::

        100 (max_z f(theta + z) - f(theta)) / (1 + f(theta))    over all z in the box |z_i| <= epsilon (|theta_i| + 1)

    Parameters
    ----------
    f : function of a vector (d,), or Objective
        Returns (value, gradient), in float64.
    theta : array_like, shape (d,), optional
        The point at which f is analysed. If f is an `Objective`, the default is ``f.theta``.
    epsilon : float
        Size of the box; see the formula. It must be above 0.
    iterations : int
        Largest number of iterations of the search for the maximum, at least 1.
    key : Key, optional
        The key of the random start of the search, a point in the box. The search does not start at theta, because theta
        is usually a minimum, where the gradient is zero.

    Returns
    -------
    float
        The largest growth that the search has found. The true maximum can be larger.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    ImportError
        If scipy is not installed. Install it with ``pip install 'fusedstep[inspect]'``.

    Notes
    -----
    Source: Keskar et al. (2017), "On large-batch training for deep learning", metric 2.1 with the identity as its
    matrix A. As in this paper, the maximum is searched with L-BFGS-B. The sharpness depends on the scale of the
    weights: it can differ between two ReLU networks with the same outputs (Dinh et al. 2017).

    Examples
    --------
    >>> import numpy as np
    >>> round(sharpness(lambda t: (50 * float(t @ t), 100 * t), np.zeros(1), epsilon=0.01), 3)
    0.5
    """
    call = "sharpness"
    at, epsilon = place(call, f, theta), positive(f"{call}: epsilon", epsilon)
    steps = max(1, whole_number(f"{call}: iterations", iterations, 2**31))
    source = Key(0) if key is None else key_of(call, key)
    here, _ = both(call, f, at)
    box = epsilon * (np.abs(at) + 1.0)
    start = at + box * (2.0 * uniform(at.size, source) - 1.0)

    def falling(theta: Vector) -> tuple[float, Vector]:
        value, gradient = both(call, f, theta)
        return -value, -gradient

    bounds = np.stack([at - box, at + box], axis=1)
    found = scipy("optimize").minimize(
        falling, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps}
    )
    return 100.0 * max(-float(found.fun) - here, 0.0) / (1.0 + here)
