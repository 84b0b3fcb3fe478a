"""Curvature from differences of gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .._base.checks import positive, whole_number
from .._base.random import key_of
from ..ops.noise import gaussian_noise
from ..ops.philox import Key
from ._functions import Function, Vector, both, place, scipy, vector

# Relative step h of a difference, 6e-6. With it, the truncation error (h^2) and the rounding error (eps / h) are about
# equal.
STEP = float(np.finfo(np.float64).eps ** (1 / 3))
DENSE = 64  # up to this number of weights, computing the whole Hessian is cheaper than the Lanczos method


class Spectrum(NamedTuple):
    """The smallest and the largest eigenvalues of a Hessian, returned by `extreme_eigenvalues`.

    Attributes
    ----------
    smallest, largest : ndarray, shape (k,)
        The k smallest eigenvalues and the k largest eigenvalues, each in ascending order.
    smallest_vectors, largest_vectors : ndarray, shape (d, k)
        The eigenvectors of the smallest and of the largest eigenvalues. Column j belongs to eigenvalue j and has the
        norm 1. d is the number of weights.
    """

    smallest: Vector
    largest: Vector
    smallest_vectors: Vector
    largest_vectors: Vector


def hessian_vector_product(
    f: Function, v: npt.ArrayLike, theta: npt.ArrayLike | None = None, *, step: float = STEP
) -> Vector:
    r"""Multiply the Hessian of f by a vector, without computing the Hessian.

    ::

        H v = (g(theta + h v) - g(theta - h v)) / (2 h),    g = gradient of f,    h = step * (1 + max |theta|) / |v|

    Parameters
    ----------
    f : function of a vector (d,), or Objective
        Returns (value, gradient), in float64.
    v : array_like, shape (d,)
        The vector by which the Hessian is multiplied.
    theta : array_like, shape (d,), optional
        The point at which f is analysed. If f is an `Objective`, the default is ``f.theta``.
    step : float
        Relative step of the difference; see the formula of h. It must be above 0.

    Returns
    -------
    ndarray of float64, shape (d,)
        The product H v. f is called twice. If f is smooth, about nine digits of the product are right.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Notes
    -----
    Pearlmutter (1994) computes the product exactly, but needs the derivative of the backward pass. This function
    computes a difference of gradients, so it needs only the gradients.

    Examples
    --------
    >>> import numpy as np
    >>> A = np.array([[2.0, 1.0], [1.0, -3.0]])
    >>> hessian_vector_product(lambda t: (t @ A @ t / 2, A @ t), [1.0, 1.0], theta=[0.5, 0.0]).round(8)
    array([ 3., -2.])
    """
    call = "hessian_vector_product"
    at, step = place(call, f, theta), positive(f"{call}: step", step)
    return _product(call, f, at, vector(call, "v", v, at.size), step)


def _product(call: str, f: Function, theta: Vector, v: Vector, step: float = STEP) -> Vector:
    length = float(np.linalg.norm(v))
    if length == 0:
        return np.zeros_like(theta)
    h = step * (1.0 + float(np.abs(theta).max())) / length
    above = both(call, f, theta + h * v)[1].copy()
    return (above - both(call, f, theta - h * v)[1]) / (2.0 * h)


def hessian(f: Function, theta: npt.ArrayLike | None = None) -> npt.NDArray[np.float64]:
    """Return the whole Hessian of f as a symmetric matrix.

    If theta has d elements, f is called 2 d times.

    Parameters
    ----------
    f : function of a vector (d,), or Objective
        Returns (value, gradient), in float64.
    theta : array_like, shape (d,), optional
        The point at which f is analysed. If f is an `Objective`, the default is ``f.theta``.

    Returns
    -------
    ndarray of float64, shape (d, d)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> hessian(lambda t: (float(np.sum(t**2)), 2 * t), [1.0, 1.0]).round(8) + 0.0
    array([[2., 0.],
           [0., 2.]])
    """
    call = "hessian"
    at = place(call, f, theta)
    rows = np.stack([_product(call, f, at, unit) for unit in np.eye(at.size)])
    return (rows + rows.T) / 2


def operator(call: str, f: Function, theta: Vector) -> Any:
    """Return the Hessian of f at theta as a scipy LinearOperator."""
    linalg = scipy("sparse.linalg")
    shape = (theta.size, theta.size)
    return linalg.LinearOperator(shape, lambda v: _product(call, f, theta, np.ravel(v)), dtype=np.float64)


def extreme_eigenvalues(
    f: Function, theta: npt.ArrayLike | None = None, *, k: int = 1, tol: float = 1e-4, key: Key | None = None
) -> Spectrum:
    """Return the k smallest and the k largest eigenvalues of the Hessian, with their eigenvectors.

    Parameters
    ----------
    f : function of a vector (d,), or Objective
        Returns (value, gradient), in float64.
    theta : array_like, shape (d,), optional
        The point at which f is analysed. If f is an `Objective`, the default is ``f.theta``.
    k : int
        Number of eigenvalues at each end, from 1 to d.
    tol : float
        Tolerance of the eigenvalues, relative to the largest absolute eigenvalue.
    key : Key, optional
        The key of the random vector with which the Lanczos method starts (see Notes). The same key gives the same
        result.

    Returns
    -------
    Spectrum
        (smallest, largest, smallest_vectors, largest_vectors)

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    ImportError
        If scipy is needed (see Notes) and not installed. Install it with ``pip install 'fusedstep[inspect]'``.

    Notes
    -----
    If d <= max(64, 4 k), the whole Hessian and all its eigenvalues are computed. If d is larger,
    ``scipy.sparse.linalg.eigsh`` computes the eigenvalues with the Lanczos method. For k = 1, this method needs about
    60 Hessian-vector products.

    Examples
    --------
    >>> import numpy as np
    >>> ends = extreme_eigenvalues(lambda t: (float(t @ (t * [3.0, -1.0, 2.0])) / 2, t * [3.0, -1.0, 2.0]), np.ones(3))
    >>> ends.smallest.round(6), ends.largest.round(6)
    (array([-1.]), array([3.]))
    """
    call = "extreme_eigenvalues"
    at, k, tol = place(call, f, theta), whole_number(f"{call}: k", k, 2**31), positive(f"{call}: tol", tol)
    if not 1 <= k <= at.size:
        raise ValueError(f"{call}: k must be from 1 to {at.size}; got {k}")
    start = gaussian_noise(at.size, 1.0, Key(0) if key is None else key_of(call, key), dtype=np.float64)
    if at.size <= max(DENSE, 4 * k):
        values, vectors = np.linalg.eigh(hessian(f, at))
        return Spectrum(values[:k], values[-k:], vectors[:, :k], vectors[:, -k:])
    return _lanczos(operator(call, f, at), k, tol, start)


def _lanczos(H: Any, k: int, tol: float, start: Vector) -> Spectrum:
    linalg = scipy("sparse.linalg")
    (extreme,) = linalg.eigsh(H, 1, which="LM", v0=start, tol=0.1, return_eigenvectors=False)
    # eigsh's tol is relative to each eigenvalue. Let e be the largest absolute eigenvalue: after a shift by 2 e, all
    # eigenvalues are from e to 3 e, so tol is relative to e.
    shift = 2.0 * abs(float(extreme))
    unit = linalg.aslinearoperator(scipy("sparse").identity(H.shape[0], format="csr"))
    values, vectors = linalg.eigsh(H + shift * unit, 2 * k, which="BE", v0=start, tol=tol)
    order = np.argsort(values)
    values, vectors = values[order] - shift, vectors[:, order]
    return Spectrum(values[:k], values[-k:], vectors[:, :k], vectors[:, -k:])
