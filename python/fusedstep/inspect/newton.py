"""A Newton step."""

from __future__ import annotations

import numpy.typing as npt

from .._base.checks import non_negative, positive
from ._functions import Function, Vector, both, place, scipy
from .hessian import operator


def newton_step(
    f: Function, theta: npt.ArrayLike | None = None, *, damping: float = 0.0, rate: float = 1.0, tol: float = 1e-8
) -> Vector:
    r"""Return theta after one damped Newton step.

    ::

        theta - rate * (H + damping I)^-1 g,    g = gradient of f,    H = Hessian of f

    Parameters
    ----------
    f : function of a vector (d,), or Objective
        Returns (value, gradient), in float64.
    theta : array_like, shape (d,), optional
        The point at which the step starts. If f is an `Objective`, the default is ``f.theta``.
    damping : float
        A number of at least 0. It is added to each eigenvalue of H. If all eigenvalues of H + damping I are above 0,
        the step goes downhill. Otherwise, the step may go towards a saddle.
    rate : float
        Factor of the step, above 0.
    tol : float
        A number above 0. The linear system (H + damping I) p = g is solved for p with this tolerance.

    Returns
    -------
    ndarray of float64, shape (d,)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    RuntimeError
        If the linear system cannot be solved with the tolerance `tol`, because H + damping I is nearly singular.
    ImportError
        If scipy is not installed. Install it with ``pip install 'fusedstep[inspect]'``.

    Notes
    -----
    ``scipy.sparse.linalg.minres`` solves the system with Hessian-vector products. H is not computed and may be
    indefinite. To minimise an `Objective` f with many Newton steps, and with a trust region instead of damping, use::

        scipy.optimize.minimize(f, f.theta, jac=True, hessp=lambda t, v: hessian_vector_product(f, v, t),
                                method="trust-ncg")

    Examples
    --------
    >>> import numpy as np
    >>> valley = lambda t: (float(t @ (t * [1.0, 50.0])), 2 * t * [1.0, 50.0])
    >>> bool(abs(newton_step(valley, [3.0, -1.0])).max() < 1e-6)
    True
    """
    call = "newton_step"
    at, damping = place(call, f, theta), non_negative(f"{call}: damping", damping)
    rate, tol = positive(f"{call}: rate", rate), positive(f"{call}: tol", tol)
    gradient = both(call, f, at)[1]
    linalg = scipy("sparse.linalg")
    step, failed = linalg.minres(operator(call, f, at), -gradient, shift=-damping, rtol=tol)
    if failed:
        raise RuntimeError(
            f"{call}: damping must be larger, because H + damping I (H: the Hessian) is nearly singular; "
            f"got damping={damping:g}"
        )
    return at + rate * step
